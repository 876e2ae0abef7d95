//! Ordinals: where a row stands in the raw stream of its source.
//!
//! `ordinal = base + offset`. `base` belongs to the source transaction and comes from the checkpoint before it; `offset`
//! counts the bytes of row images in this transaction's rows events, whether their table is followed or not and whether
//! a ROLLBACK TO took them back or not. A change of filters, of the chunking or of the events' split can therefore not
//! shift a row when a stretch is read again. Every row image has at least one byte, so ordinals grow strictly.

/// The running offset within one source transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ordinals {
    base: i64,
    passed: i64,
}

impl Ordinals {
    /// A transaction that starts at `base`.
    pub(crate) fn new(base: i64) -> Self {
        Self { base, passed: 0 }
    }

    /// The ordinal at which the transaction starts.
    pub(crate) fn base(self) -> i64 {
        self.base
    }

    /// Offset of the next rows event's first image within the transaction, in bytes.
    pub(crate) fn offset(self) -> i64 {
        self.passed
    }

    /// Passes a rows event with `rows_bytes` bytes of row images; returns the ordinal of an image at its offset 0.
    pub(crate) fn pass(&mut self, rows_bytes: usize) -> i64 {
        let first = self.base.saturating_add(self.passed);
        self.passed = self.passed.saturating_add(i64::try_from(rows_bytes).unwrap_or(i64::MAX));
        first
    }

    /// The base of the transaction behind this one.
    pub(crate) fn next_base(self) -> i64 {
        self.base.saturating_add(self.passed).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_bytes_before_them() {
        let mut ordinals = Ordinals::new(1000);
        assert_eq!(ordinals.pass(30), 1000);
        assert_eq!(ordinals.offset(), 30);
        assert_eq!(ordinals.pass(12), 1030);
        assert_eq!(ordinals.next_base(), 1043);
    }

    #[test]
    fn an_empty_transaction_still_moves_the_base() {
        assert_eq!(Ordinals::new(7).next_base(), 8);
    }

    proptest::proptest! {
        /// However the same images are split over events, each gets the same ordinal, and they grow strictly.
        #[test]
        fn splits_do_not_shift(images in proptest::collection::vec(1usize..200, 1..50), cut in 0usize..50) {
            let whole: Vec<i64> = {
                let first = Ordinals::new(5).pass(images.iter().sum());
                let mut at = 0;
                images.iter().map(|len| { let ordinal = first + at; at += *len as i64; ordinal }).collect()
            };
            let (head, tail) = images.split_at(cut.min(images.len()));
            let mut ordinals = Ordinals::new(5);
            let mut split = Vec::new();
            for part in [head, tail] {
                let first = ordinals.pass(part.iter().sum());
                let mut at = 0;
                for len in part { split.push(first + at); at += *len as i64; }
            }
            proptest::prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]));
            proptest::prop_assert!(ordinals.next_base() > *whole.last().expect("at least one image"));
            proptest::prop_assert_eq!(whole, split);
        }
    }
}
