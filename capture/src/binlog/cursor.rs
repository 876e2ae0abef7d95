//! Reading little-endian fields from bytes that may end anywhere.

/// The unread rest of a byte string. Every method answers `None` when too few bytes are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Six bytes, as table ids are written.
    pub(super) fn u48(&mut self) -> Option<u64> {
        self.take(6).map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0]))
    }

    /// Seven bytes, as MySQL writes times in microseconds.
    pub(super) fn u56(&mut self) -> Option<u64> {
        self.take(7).map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], 0]))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A number of MySQL's serialisation: as many lowest bits are set as bytes follow the first, and the value stands above
    /// these and a zero bit; behind a first byte of ones it stands whole.
    pub(super) fn varlen(&mut self) -> Option<u64> {
        let more = self.0.first()?.trailing_ones();
        if more == 8 {
            self.u8()?;
            return self.u64();
        }
        let mut bytes = [0; 8];
        let length = more as usize + 1;
        bytes[..length].copy_from_slice(self.take(length)?);
        Some(u64::from_le_bytes(bytes) >> length)
    }

    /// A length-encoded integer; 0xfb (NULL) and 0xff are not lengths.
    pub(super) fn lenenc(&mut self) -> Option<u64> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.take(3).map(|b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], 0]))),
            0xfe => self.u64(),
            0xfb | 0xff => None,
            small => Some(u64::from(small)),
        }
    }

    /// A byte string with a length-encoded length before it.
    pub(super) fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.lenenc()?).ok()?;
        self.take(length)
    }
}
