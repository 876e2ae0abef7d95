//! Which characters a text column can hold.
//!
//! The server refuses the others in strict mode, but after the value was sent, and MySQL without naming the column. So for
//! the common character sets the value is looked at here. Of what the servers convert, one character of one set comes
//! back as another (measured over all of U+0001 to U+FFFF in every set of both servers); it is refused here too.

/// A character set, as far as it limits what a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repertoire {
    /// Every character.
    All,
    /// utf8mb3 and ucs2: U+0000 to U+FFFF.
    Plane0,
    /// ascii.
    Ascii,
    /// latin1: Windows-1252, whose five gaps hold the controls of the same number.
    Latin1,
    /// cp932, into which U+6661 goes as U+6659.
    Cp932,
    /// Another, which the server checks.
    Server,
}

/// What Windows-1252 has at 80 to 9F beyond the five gaps.
const WINDOWS: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ";
/// The gaps.
const GAPS: [u32; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

impl Repertoire {
    /// Of a character set by the server's name.
    pub(super) fn of(charset: Option<&str>) -> Self {
        match charset {
            Some("utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030") => Self::All,
            Some("utf8mb3" | "utf8" | "ucs2") => Self::Plane0,
            Some("ascii") => Self::Ascii,
            Some("latin1") => Self::Latin1,
            Some("cp932") => Self::Cp932,
            _ => Self::Server,
        }
    }

    /// Whether the set has every character of the text.
    pub(super) fn holds(self, text: &str) -> bool {
        match self {
            Self::All | Self::Server => true,
            Self::Ascii => text.is_ascii(),
            Self::Plane0 => text.chars().all(|c| u32::from(c) <= 0xffff),
            Self::Cp932 => !text.contains('\u{6661}'),
            Self::Latin1 => text.is_ascii() || text.chars().all(latin1),
        }
    }
}

fn latin1(c: char) -> bool {
    let code = u32::from(c);
    matches!(code, 0..=0x7f | 0xa0..=0xff) || GAPS.contains(&code) || WINDOWS.contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_they_have() {
        for (charset, good, bad) in [
            ("utf8mb4", "😀é", None),
            ("utf8mb3", "漢é", Some("😀")),
            ("ascii", "a~\0", Some("é")),
            ("latin1", "aÿ€\u{81}Ÿ", Some("\u{80}")),
            ("latin1", "", Some("漢")),
            ("cp932", "晙", Some("\u{6661}")),
            ("gbk", "漢", None),
        ] {
            let repertoire = Repertoire::of(Some(charset));
            assert!(repertoire.holds(good), "{charset}");
            assert!(bad.is_none_or(|bad| !repertoire.holds(bad)), "{charset}");
        }
    }
}
