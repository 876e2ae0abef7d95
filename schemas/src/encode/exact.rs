//! The envelope's `exact`: what typed fields cannot carry, as text by column.

use super::write::{FIRST, SECOND, put_bytes, put_long};
use super::{EventEncoder, RowEvent};
use crate::Result;

impl EventEncoder {
    /// Appends `exact` of a row that needs it. May leave a part behind when it fails.
    #[cold]
    pub(super) fn write_exact(&self, row: &RowEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        out.push(SECOND);
        for image in [row.before, row.after] {
            let texts = image.map_or(Ok(vec![]), |image| self.exact_texts(image))?;
            if texts.is_empty() {
                out.push(FIRST);
                continue;
            }
            out.push(SECOND);
            put_long(texts.len() as i64, out); // at most as many as columns
            for (index, text) in texts {
                put_bytes(self.names[index].as_bytes(), out);
                put_bytes(text.as_bytes(), out);
            }
            put_long(0, out); // no further block of the map
        }
        Ok(())
    }

    /// The columns whose values are not in their fields, with the values' text.
    fn exact_texts(&self, image: &[u8]) -> Result<Vec<(usize, String)>> {
        let mut texts = vec![];
        self.walk(image, self.columns.len(), |index, value| {
            let Some(value) = value else { return Ok(()) };
            let text = self.columns[index].exact(value).map_err(|fault| self.fault(index, value, fault.what()))?;
            texts.extend(text.map(|text| (index, text)));
            Ok(())
        })?;
        Ok(texts)
    }
}
