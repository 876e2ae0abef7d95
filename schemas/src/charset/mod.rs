//! Character sets of text columns, by the names that servers give them, and their text in UTF-8.
//!
//! A set is here when its decoding is held to the server's own `CONVERT … USING utf8mb4` for every code it has; text in
//! any other is refused by its column's name. The collation `binary` is no character set: its columns hold bytes.
//! No bytes panic. What has no character is U+FFFD in the text, and [`Fidelity`] says so.

mod multibyte;
mod tables;

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
    Ucs2 = "ucs2", "Two bytes a character, big-endian, without surrogates.";
    Utf16 = "utf16", "UTF-16, big-endian.";
    Utf16le = "utf16le", "UTF-16, little-endian.";
    Utf32 = "utf32", "UTF-32, big-endian.";
    Latin2 = "latin2", "ISO 8859-2.";
    Latin5 = "latin5", "ISO 8859-9.";
    Latin7 = "latin7", "ISO 8859-13.";
    Greek = "greek", "ISO 8859-7.";
    Hebrew = "hebrew", "ISO 8859-8.";
    Cp1250 = "cp1250", "Windows-1250, Central European.";
    Cp1251 = "cp1251", "Windows-1251, Cyrillic.";
    Cp1256 = "cp1256", "Windows-1256, Arabic.";
    Cp1257 = "cp1257", "Windows-1257, Baltic.";
    Koi8r = "koi8r", "KOI8-R.";
    Koi8u = "koi8u", "KOI8-U.";
    Cp850 = "cp850", "DOS 850, Western European.";
    Cp852 = "cp852", "DOS 852, Central European.";
    Cp866 = "cp866", "DOS 866, Cyrillic.";
    Keybcs2 = "keybcs2", "Kamenický, Czech and Slovak.";
    Macce = "macce", "Mac OS, Central European.";
    Macroman = "macroman", "Mac OS, Western European.";
    Tis620 = "tis620", "TIS-620, Thai.";
    Hp8 = "hp8", "HP Roman-8.";
    Dec8 = "dec8", "DEC Multinational.";
    Geostd8 = "geostd8", "GEOSTD8, Georgian.";
    Armscii8 = "armscii8", "ARMSCII-8, Armenian.";
    Gbk = "gbk", "GBK, simplified Chinese.";
    Gb2312 = "gb2312", "GB 2312 in EUC, simplified Chinese.";
    Gb18030 = "gb18030", "GB 18030-2005, Chinese.";
    Euckr = "euckr", "Unified Hangul Code, Korean.";
    Sjis = "sjis", "Shift JIS without vendors' extensions, Japanese.";
    Cp932 = "cp932", "Windows-31J, Japanese.";
}

/// What a text in UTF-8 is worth beside the bytes it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fidelity {
    /// The server makes the same bytes of it.
    Whole,
    /// It reads the same, but the server makes other bytes of it: the set has two codes for a character.
    Reads,
    /// U+FFFD stands for bytes that are no character of the set.
    Damaged,
}

impl Charset {
    /// Appends the text that the bytes stand for, in UTF-8.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<u8>) -> Fidelity {
        let mut sink = Sink { out, fidelity: Fidelity::Whole };
        match self {
            Self::Utf8 => {
                if std::str::from_utf8(bytes).is_err() {
                    sink.fidelity = Fidelity::Damaged;
                }
                sink.out.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
            }
            Self::Ascii => sink.all(bytes, |byte| byte.is_ascii().then_some(char::from(byte))),
            Self::Latin1 => sink.all(bytes, |byte| {
                let high = usize::from(byte).checked_sub(0x80).and_then(|place| LATIN1_HIGH.get(place));
                Some(high.copied().unwrap_or(char::from(byte)))
            }),
            Self::Ucs2 => sink.units(bytes, |[a, b]| char::from_u32(u32::from(u16::from_be_bytes([a, b])))),
            Self::Utf32 => sink.units(bytes, |unit| char::from_u32(u32::from_be_bytes(unit))),
            Self::Utf16 => sink.utf16(bytes, u16::from_be_bytes),
            Self::Utf16le => sink.utf16(bytes, u16::from_le_bytes),
            Self::Gbk | Self::Gb2312 | Self::Gb18030 | Self::Euckr | Self::Sjis | Self::Cp932 => {
                multibyte::decode(self, bytes, &mut sink);
            }
            _ => {
                let high = self.high();
                sink.all(bytes, |byte| match byte.checked_sub(0x80) {
                    None => Some(char::from(byte)),
                    Some(place) => {
                        let code = high.and_then(|table| table.get(usize::from(place))).copied();
                        code.filter(|code| *code != 0).and_then(|code| char::from_u32(u32::from(code)))
                    }
                });
                // ARMSCII-8 has some of ASCII's punctuation twice
                if self == Self::Armscii8 && bytes.iter().any(|b| matches!(b, 0xa4 | 0xa5 | 0xa9 | 0xab | 0xac | 0xff))
                {
                    sink.lower(Fidelity::Reads);
                }
            }
        }
        sink.fidelity
    }

    /// The upper half of a single-byte set.
    fn high(self) -> Option<&'static [u16; 128]> {
        Some(match self {
            Self::Latin2 => &tables::LATIN2,
            Self::Latin5 => &tables::LATIN5,
            Self::Latin7 => &tables::LATIN7,
            Self::Greek => &tables::GREEK,
            Self::Hebrew => &tables::HEBREW,
            Self::Cp1250 => &tables::CP1250,
            Self::Cp1251 => &tables::CP1251,
            Self::Cp1256 => &tables::CP1256,
            Self::Cp1257 => &tables::CP1257,
            Self::Koi8r => &tables::KOI8R,
            Self::Koi8u => &tables::KOI8U,
            Self::Cp850 => &tables::CP850,
            Self::Cp852 => &tables::CP852,
            Self::Cp866 => &tables::CP866,
            Self::Keybcs2 => &tables::KEYBCS2,
            Self::Macce => &tables::MACCE,
            Self::Macroman => &tables::MACROMAN,
            Self::Tis620 => &tables::TIS620,
            Self::Hp8 => &tables::HP8,
            Self::Dec8 => &tables::DEC8,
            Self::Geostd8 => &tables::GEOSTD8,
            Self::Armscii8 => &tables::ARMSCII8,
            _ => return None,
        })
    }
}

/// 0x80 to 0x9f of latin1; the rest is as in Unicode.
const LATIN1_HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Takes characters, and remembers the worst that was said of them.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    fidelity: Fidelity,
}

impl Sink<'_> {
    fn lower(&mut self, fidelity: Fidelity) {
        self.fidelity = self.fidelity.max(fidelity);
    }

    /// Takes a character; none is damage.
    fn put(&mut self, char: Option<char>) {
        if char.is_none() {
            self.lower(Fidelity::Damaged);
        }
        let mut utf8 = [0; 4];
        let text = char.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A character for each byte.
    fn all(&mut self, bytes: &[u8], char: impl Fn(u8) -> Option<char>) {
        bytes.iter().for_each(|byte| self.put(char(*byte)));
    }

    /// A character for each `N` bytes.
    fn units<const N: usize>(&mut self, bytes: &[u8], char: impl Fn([u8; N]) -> Option<char>) {
        let (units, rest) = bytes.as_chunks::<N>();
        units.iter().for_each(|unit| self.put(char(*unit)));
        if !rest.is_empty() {
            self.put(None);
        }
    }

    fn utf16(&mut self, bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) {
        let (units, rest) = bytes.as_chunks::<2>();
        char::decode_utf16(units.iter().map(|pair| unit(*pair))).for_each(|char| self.put(char.ok()));
        if !rest.is_empty() {
            self.put(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(charset: Charset, bytes: &[u8]) -> (String, Fidelity) {
        let mut out = b"kept".to_vec();
        let fidelity = charset.decode(bytes, &mut out);
        (String::from_utf8(out.split_off(4)).expect("UTF-8"), fidelity)
    }

    #[test]
    fn texts_in_several_sets() {
        let whole = |text: &str| (text.to_owned(), Fidelity::Whole);
        assert_eq!(text(Charset::Latin1, b"a\x80\x81\xff"), whole("a€\u{81}ÿ"));
        assert_eq!(text(Charset::Utf16, b"\0a\xd8\x3d\xde\x00"), whole("a😀"));
        assert_eq!(text(Charset::Utf16le, b"a\0\x3d\xd8\x00\xde"), whole("a😀"));
        assert_eq!(text(Charset::Utf32, b"\0\x01\xf6\x00"), whole("😀"));
        assert_eq!(text(Charset::Ucs2, b"\x65\xe5"), whole("日"));
        assert_eq!(text(Charset::Gbk, b"\xc8\xd5\xb1\xbea"), whole("日本a"));
        assert_eq!(text(Charset::Cp932, b"\x93\xfa\xb1"), whole("日ｱ"));
        assert_eq!(text(Charset::Gb18030, b"\x94\x39\xfc\x36"), whole("😀"));
        assert_eq!(text(Charset::Koi8r, b"\xcd\xc9\xd2"), whole("мир"));
        assert_eq!(text(Charset::Sjis, b"\\"), ("\\".into(), Fidelity::Reads));
        assert_eq!(text(Charset::Cp932, b"\xed\x40"), ("纊".into(), Fidelity::Reads));
    }

    #[test]
    fn bytes_that_are_no_text() {
        for (charset, bytes, expected) in [
            (Charset::Utf8, &b"a\xff"[..], "a\u{fffd}"),
            (Charset::Ascii, b"a\x80b", "a\u{fffd}b"),
            (Charset::Ucs2, b"\0a\xd8\x00\0", "a\u{fffd}\u{fffd}"),
            (Charset::Utf16, b"\xdc\x00\0a", "\u{fffd}a"),
            (Charset::Utf32, b"\0\x11\0\0", "\u{fffd}"),
            (Charset::Gbk, b"\xc8", "\u{fffd}"),
            (Charset::Gbk, b"\xa1\x40a", "\u{fffd}a"),
            (Charset::Gb18030, b"\x81\x30\x81", "\u{fffd}0\u{fffd}"),
            (Charset::Tis620, b"\xdb", "\u{fffd}"),
        ] {
            assert_eq!(text(charset, bytes), (expected.to_owned(), Fidelity::Damaged), "{charset:?}");
        }
    }

    #[test]
    fn names_lead_back_to_the_sets() {
        for charset in Charset::ALL {
            assert_eq!(Charset::of(charset.name()), Some(*charset));
        }
        assert_eq!(Charset::of("utf8mb3"), Some(Charset::Utf8));
        assert_eq!((Charset::of("binary"), Charset::of("swe7")), (None, None));
    }
}
