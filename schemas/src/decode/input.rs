//! Reading Avro's primitives from bytes that anybody may have written: no panic, no allocation, borrowed results.

/// Why bytes are not what the schema says.
pub(super) type Fault = &'static str;

/// The bytes not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(self) -> usize {
        self.rest.len()
    }

    /// So many bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    /// Exactly `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("it ends early")?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A long.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        let mut zigzag = 0_u64;
        let mut shift = 0;
        loop {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                return Err("a number has more than 64 bits");
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
            shift += 7;
        }
    }

    /// An int.
    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| "an int has more than 32 bits")
    }

    /// Bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    /// A string.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a string is not UTF-8")
    }

    /// The index of a union's branch.
    #[inline]
    pub(super) fn branch(&mut self, branches: usize) -> Result<usize, Fault> {
        let index = usize::try_from(self.long()?).ok().filter(|index| *index < branches);
        index.ok_or("a union has no such branch")
    }

    /// Whether a union of null and another is null.
    #[inline]
    pub(super) fn is_null(&mut self, null_branch: usize) -> Result<bool, Fault> {
        Ok(self.branch(2)? == null_branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_end_at_64_bits() {
        let mut most = vec![0xfe];
        most.extend([0xff; 8]);
        let end = |last: &[u8]| [&most[..], last].concat();
        assert_eq!(Input::new(&end(&[0x01])).long(), Ok(i64::MAX));
        assert!(Input::new(&end(&[0x02])).long().is_err());
        assert!(Input::new(&end(&[0x81, 0x00])).long().is_err());
        assert!(Input::new(&most).long().is_err());
        assert_eq!(Input::new(&[0x01]).long(), Ok(-1));
        assert!(Input::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).int().is_err());
        assert_eq!(Input::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).int(), Ok(i32::MIN));
    }

    #[test]
    fn lengths_stay_within_the_bytes() {
        for bytes in [&[2][..], &[1, 0], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0]] {
            assert!(Input::new(bytes).bytes().is_err());
        }
        assert!(Input::new(&[2, 0xff]).text().is_err());
        assert!(Input::new(&[4]).branch(2).is_err());
        assert!(Input::new(&[1]).branch(2).is_err());
    }
}
