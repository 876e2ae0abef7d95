//! The East Asian sets: the tables of `encoding_rs`, which are the web's, with what the servers do otherwise.
//!
//! The web's GBK maps its private-use area and what came later with GB 18030, its Shift JIS and GB 2312 are supersets;
//! here each set has the server's characters and no others, code by code.

use encoding_rs::Encoding;

use super::{Charset, Fidelity, Sink};

/// Appends the text of one of the sets.
pub(super) fn decode(charset: Charset, bytes: &[u8], sink: &mut Sink<'_>) {
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let length = length(charset, rest);
        let Some((code, tail)) = rest.split_at_checked(length) else {
            sink.put(None);
            rest = &rest[1..];
            continue;
        };
        if first.is_ascii() {
            sink.put(Some(char::from(first)));
            if charset == Charset::Sjis && first == b'\\' {
                sink.lower(Fidelity::Reads); // U+005C is 0x815f on the way back
            }
            rest = tail;
            continue;
        }
        match character(charset, code) {
            Some(char) => {
                sink.put(Some(char));
                if has_twin(charset, code) {
                    sink.lower(Fidelity::Reads);
                }
                rest = tail;
            }
            None => {
                sink.put(None);
                // what follows may be an ASCII character of its own
                rest =
                    if code.get(1).is_some_and(u8::is_ascii) && !plausible(charset, code) { &rest[1..] } else { tail };
            }
        }
    }
}

/// Bytes of the code at the head.
fn length(charset: Charset, bytes: &[u8]) -> usize {
    match (charset, bytes) {
        (_, [0..=0x7f, ..]) => 1,
        (Charset::Sjis | Charset::Cp932, [0xa1..=0xdf, ..]) => 1,
        (Charset::Gb18030, [_, b'0'..=b'9', ..]) => 4,
        _ => 2,
    }
}

/// Whether a code of two bytes is one in form, though it has no character.
fn plausible(charset: Charset, code: &[u8]) -> bool {
    match charset {
        Charset::Gb2312 => false,
        Charset::Euckr => matches!(code, [0x81..=0xfe, 0x41..=0x5a | 0x61..=0x7a]),
        _ => matches!(code, [0x81..=0xfe, 0x40..=0x7e]),
    }
}

fn character(charset: Charset, code: &[u8]) -> Option<char> {
    if let Some(own) = exception(charset, code) {
        return own;
    }
    let encoding = match charset {
        Charset::Gbk | Charset::Gb2312 => encoding_rs::GBK,
        Charset::Gb18030 => encoding_rs::GB18030,
        Charset::Euckr => encoding_rs::EUC_KR,
        _ => encoding_rs::SHIFT_JIS,
    };
    let char = web(encoding, code)?;
    let private = ('\u{e000}'..='\u{f8ff}').contains(&char);
    (!private || matches!(charset, Charset::Cp932 | Charset::Gb18030)).then_some(char)
}

/// The character that the web has for a code.
fn web(encoding: &'static Encoding, code: &[u8]) -> Option<char> {
    let mut utf8 = [0; 16];
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (_, read, written) = decoder.decode_to_utf8_without_replacement(code, &mut utf8, true);
    let mut chars = std::str::from_utf8(&utf8[..written]).ok()?.chars();
    let char = chars.next()?;
    (read == code.len() && chars.next().is_none() && char != char::REPLACEMENT_CHARACTER).then_some(char)
}

/// Where the server differs from the web: another character, or (some none) none at all.
fn exception(charset: Charset, code: &[u8]) -> Option<Option<char>> {
    let (lead, trail) = match *code {
        [lead, trail] => (lead, trail),
        _ => return (code == [0x80]).then_some(None),
    };
    let pair = u16::from_be_bytes([lead, trail]);
    let later = |first: u16, char: u32| char::from_u32(char + u32::from(pair - first));
    match charset {
        Charset::Gbk => matches!(
            pair,
            0x8000..=0x80ff
                | 0xa2e3
                | 0xa3a0
                | 0xa6d9..=0xa6df
                | 0xa6ec..=0xa6ed
                | 0xa6f3
                | 0xa8bc
                | 0xa8bf
                | 0xa989..=0xa995
                | 0xfe50..=0xfea0
        )
        .then_some(None),
        Charset::Gb2312 => match pair {
            0xa1a4 => Some(Some('\u{30fb}')),
            0xa1aa => Some(Some('\u{2015}')),
            0xa2a1..=0xa2aa | 0xa2e3 | 0xa6d9..=0xa6f5 | 0xa8bb..=0xa8c0 => Some(None),
            _ => (!(0xa1..=0xf7).contains(&lead) || trail < 0xa1).then_some(None),
        },
        Charset::Gb18030 => match pair {
            0xa3a0 => Some(Some('\u{e5e5}')),
            0xa6d9..=0xa6df => Some(later(0xa6d9, 0xe78d)),
            0xa6ec..=0xa6ed => Some(later(0xa6ec, 0xe794)),
            0xa6f3 => Some(Some('\u{e796}')),
            0xfe59 | 0xfe61 | 0xfe66 | 0xfe67 | 0xfe6d => Some(later(0xfe59, 0xe81e)),
            0xfe7e => Some(Some('\u{e843}')),
            0xfe90 => Some(Some('\u{e854}')),
            0xfea0 => Some(Some('\u{e864}')),
            _ => (lead == 0x80).then_some(None),
        },
        Charset::Sjis => match pair {
            0x815f => Some(Some('\\')),
            0x8160 => Some(Some('\u{301c}')),
            0x8161 => Some(Some('\u{2016}')),
            0x817c => Some(Some('\u{2212}')),
            0x8191 => Some(Some('\u{a2}')),
            0x8192 => Some(Some('\u{a3}')),
            0x81ca => Some(Some('\u{ac}')),
            _ => matches!(lead, 0x80 | 0x87 | 0xed | 0xee | 0xf0..).then_some(None),
        },
        _ => (lead == 0x80).then_some(None),
    }
}

/// Whether the server makes another code of the character of this one.
fn has_twin(charset: Charset, code: &[u8]) -> bool {
    let &[lead, trail] = code else { return false };
    charset == Charset::Cp932
        && matches!(
            u16::from_be_bytes([lead, trail]),
            0x8790..=0x8792
                | 0x8795..=0x8797
                | 0x879a..=0x879c
                | 0xed40..=0xedfc
                | 0xee40..=0xeeec
                | 0xeeef..=0xeefc
                | 0xfa4a..=0xfa54
                | 0xfa58..=0xfa5b
        )
}
