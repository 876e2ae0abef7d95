//! HTTP endpoints of every role: health, metrics, status.
