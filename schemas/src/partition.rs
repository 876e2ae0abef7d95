//! Which partition a row goes to: Kafka's murmur2 over the canonical form of the key's values.
//!
//! The canonical form (docs/formats/partitions.md) depends on values, never on serialised Avro: a new schema id, INT
//! becoming BIGINT or another scale must not move rows. A change to it moves rows of existing topics, so its test
//! vectors are frozen.

use std::fmt::{self, Write as _};

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// Kafka's murmur2 with the sign bit cleared, as its default partitioner uses it.
pub fn hash(bytes: &[u8]) -> u32 {
    let mut murmur = Murmur2::new(bytes.len());
    murmur.put(bytes);
    murmur.finish()
}

/// The partition for a hash; `partitions` of 0 counts as 1.
pub fn partition(hash: u32, partitions: u32) -> u32 {
    hash % partitions.max(1)
}

/// What a value is in the canonical form: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Null = b'0' as isize,
    Number = b'n' as isize,
    Float = b'f' as isize,
    Date = b'd' as isize,
    DateTime = b't' as isize,
    Timestamp = b's' as isize,
    Time = b'm' as isize,
    Text = b'c' as isize,
    Bytes = b'b' as isize,
}

/// Takes the canonical form, value by value: tag, length (4 bytes, big-endian), bytes.
pub(crate) trait Canonical {
    /// Takes bytes of the form.
    fn put(&mut self, bytes: &[u8]);

    /// The head of a value.
    fn head(&mut self, tag: Tag, length: usize) {
        self.put(&[tag as u8]);
        // a key's values are shorter by far
        self.put(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    /// Bytes as they are.
    fn bytes(&mut self, tag: Tag, bytes: &[u8]) {
        self.head(tag, bytes.len());
        self.put(bytes);
    }

    /// NULL.
    fn null(&mut self) {
        self.head(Tag::Null, 0);
    }

    /// A number as decimal text.
    fn number(&mut self, tag: Tag, number: i128) {
        let text = ShortText::of(format_args!("{number}"));
        self.bytes(tag, text.as_bytes());
    }

    /// A floating-point number as its shortest text, such as `1.5e0`; both zeros are `0e0`.
    fn float<F: fmt::LowerExp + PartialEq + Default>(&mut self, float: F) {
        let zero = F::default();
        let float = if float == zero { zero } else { float };
        let text = ShortText::of(format_args!("{float:e}"));
        self.bytes(Tag::Float, text.as_bytes());
    }

    /// Text: spaces at its end left out, ASCII letters in lower case.
    fn text(&mut self, text: &[u8]) {
        let spaces = text.iter().rev().take_while(|byte| **byte == b' ').count();
        let text = &text[..text.len() - spaces];
        self.head(Tag::Text, text.len());
        let mut lower = [0; 64];
        for chunk in text.chunks(lower.len()) {
            let lower = &mut lower[..chunk.len()];
            lower.copy_from_slice(chunk);
            lower.make_ascii_lowercase();
            self.put(lower);
        }
    }
}

/// Counts the bytes of a canonical form.
#[derive(Debug, Default)]
pub(crate) struct Length(usize);

impl Length {
    pub(crate) fn bytes(&self) -> usize {
        self.0
    }
}

impl Canonical for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// murmur2, fed piece by piece; it must know the length beforehand.
#[derive(Debug)]
pub(crate) struct Murmur2 {
    hash: u32,
    /// Up to three bytes that do not make a word yet.
    pending: [u8; 4],
    filled: usize,
}

impl Murmur2 {
    pub(crate) fn new(length: usize) -> Self {
        // Kafka's length is an int; the low 32 bits are the same
        Self { hash: SEED ^ (length as u32), pending: [0; 4], filled: 0 }
    }

    fn word(&mut self, word: [u8; 4]) {
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        self.hash = self.hash.wrapping_mul(M) ^ k;
    }

    pub(crate) fn finish(mut self) -> u32 {
        if self.filled > 0 {
            self.pending[self.filled..].fill(0);
            self.hash = (self.hash ^ u32::from_le_bytes(self.pending)).wrapping_mul(M);
        }
        self.hash = (self.hash ^ (self.hash >> 13)).wrapping_mul(M);
        (self.hash ^ (self.hash >> 15)) & 0x7fff_ffff
    }
}

impl Canonical for Murmur2 {
    fn put(&mut self, mut bytes: &[u8]) {
        while self.filled > 0 || bytes.len() < 4 {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.pending[self.filled] = *first;
            bytes = rest;
            self.filled += 1;
            if self.filled == 4 {
                self.filled = 0;
                self.word(self.pending);
            }
        }
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            self.word([word[0], word[1], word[2], word[3]]);
        }
        for byte in words.remainder() {
            self.pending[self.filled] = *byte;
            self.filled += 1;
        }
    }
}

/// A short text without allocation. 48 bytes hold every i128 and every shortest float.
struct ShortText {
    bytes: [u8; 48],
    used: usize,
}

impl ShortText {
    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut short = Self { bytes: [0; 48], used: 0 };
        let written = short.write_fmt(text);
        debug_assert!(written.is_ok(), "a number's text is longer than the buffer");
        short
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's own vectors (UtilsTest.testMurmur2), as Java's signed ints.
    const KAFKA: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn kafkas_vectors() {
        for (text, expected) in KAFKA {
            assert_eq!(hash(text.as_bytes()), expected.cast_unsigned() & 0x7fff_ffff, "{text}");
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_hash() {
        for (text, expected) in KAFKA {
            for size in 1..=text.len() {
                let mut murmur = Murmur2::new(text.len());
                text.as_bytes().chunks(size).for_each(|piece| murmur.put(piece));
                assert_eq!(murmur.finish(), expected.cast_unsigned() & 0x7fff_ffff, "{text} by {size}");
            }
        }
    }

    struct Form(Vec<u8>);

    impl Canonical for Form {
        fn put(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }

    fn form(feed: impl FnOnce(&mut Form)) -> Vec<u8> {
        let mut form = Form(vec![]);
        feed(&mut form);
        form.0
    }

    #[test]
    fn canonical_forms_are_frozen() {
        assert_eq!(form(|f| f.number(Tag::Number, -42)), b"n\0\0\0\x03-42");
        assert_eq!(form(|f| f.number(Tag::Number, i128::MIN))[5..], *i128::MIN.to_string().as_bytes());
        assert_eq!(form(|f| f.float(1.5_f64)), b"f\0\0\0\x051.5e0");
        assert_eq!(form(|f| f.float(0.1_f32)), form(|f| f.float(0.1_f64)));
        assert_eq!(form(|f| f.float(-0.0_f64)), b"f\0\0\0\x030e0");
        assert_eq!(form(|f| f.float(-f64::MIN_POSITIVE))[5..], *b"-2.2250738585072014e-308");
        assert_eq!(form(|f| f.text("Ab É  ".as_bytes())), "c\0\0\0\x05ab É".as_bytes());
        assert_eq!(form(|f| f.bytes(Tag::Bytes, b"A ")), b"b\0\0\0\x02A ");
        assert_eq!(form(Canonical::null), b"0\0\0\0\0");
        let long = "X".repeat(1000);
        assert_eq!(form(|f| f.text(long.as_bytes()))[5..], *"x".repeat(1000).as_bytes());
    }

    #[test]
    fn partitions_of_a_hash() {
        assert_eq!((partition(7, 0), partition(7, 1), partition(7, 4)), (0, 0, 3));
    }
}
