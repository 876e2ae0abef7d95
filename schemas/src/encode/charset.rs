//! Text in the server's character sets, to UTF-8.

use crate::charset::Charset;

/// Appends the text in UTF-8. Bytes that are not valid in the set become U+FFFD, and the text is then an error that
/// says so; what was appended is whole.
pub(super) fn decode(charset: Charset, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let valid = match charset {
        Charset::Utf8 => {
            let valid = std::str::from_utf8(bytes).is_ok();
            out.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
            valid
        }
        Charset::Ascii => all(bytes.iter().map(|byte| byte.is_ascii().then_some(char::from(*byte))), out),
        Charset::Latin1 => all(bytes.iter().map(|byte| Some(latin1(*byte))), out),
    };
    if valid { Ok(()) } else { Err("text that is not valid in its character set") }
}

/// Appends the characters, U+FFFD for what is none, and says whether there was no such.
fn all(chars: impl Iterator<Item = Option<char>>, out: &mut Vec<u8>) -> bool {
    let mut valid = true;
    for char in chars {
        valid &= char.is_some();
        let mut utf8 = [0; 4];
        out.extend_from_slice(char.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8).as_bytes());
    }
    valid
}

fn latin1(byte: u8) -> char {
    let high = usize::from(byte).checked_sub(0x80).and_then(|place| LATIN1_HIGH.get(place));
    high.copied().unwrap_or(char::from(byte))
}

/// 0x80 to 0x9f; the rest is as in Unicode.
const LATIN1_HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
