//! Character sets of text columns, by the names that servers give them.
//!
//! A set is here when its decoding is held to the server's own `CONVERT … USING utf8mb4` for every code it has; text in
//! any other is refused by its column's name. The collation `binary` is no character set: its columns hold bytes.

macro_rules! charsets {
    ($($variant:ident = $($name:literal)|+, $doc:literal;)*) => {
        /// A character set that is carried, decoded to UTF-8.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Charset { $(#[doc = $doc] $variant,)* }

        impl Charset {
            /// Every set there is, in order of definition.
            pub const ALL: &'static [Charset] = &[$(Charset::$variant,)*];

            /// The set of a server's name for it, such as `utf8mb4`; none when it is not carried.
            pub fn of(name: &str) -> Option<Self> {
                match name {
                    $($($name)|+ => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The server's name for it (of several, the widest).
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => [$($name),+][0],)* }
            }
        }
    };
}

charsets! {
    Utf8 = "utf8mb4" | "utf8mb3" | "utf8", "UTF-8 of three or four bytes: the bytes are carried as they stand.";
    Ascii = "ascii", "ASCII.";
    Latin1 = "latin1", "Windows-1252, with U+0081, U+008D, U+008F, U+0090 and U+009D in its gaps.";
}
