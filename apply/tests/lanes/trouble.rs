//! What stops a lane, what is said about it, and what makes it go on.
