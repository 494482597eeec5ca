//! The dictionary of a stream: which number stands for which word.

use arrow_ipc::DictionaryBatch;

use crate::arrow::batch::{Buffers, Strings};
use crate::arrow::schema::Word;

/// An index of 8 bits reaches no further.
const LIMIT: usize = 128;

/// The words, by number; `None` is one that this reader does not know.
#[derive(Debug, Default)]
pub(super) struct Dictionary(Vec<Option<Word>>);

impl Dictionary {
    /// The word of that number.
    #[inline]
    pub(super) fn word(&self, number: u8) -> Option<Word> {
        self.0.get(usize::from(number)).copied().flatten()
    }

    /// Takes a dictionary batch: all words, or more words.
    pub(super) fn take(
        &mut self,
        batch: &DictionaryBatch<'_>,
        body: &[u8],
    ) -> Result<(), &'static str> {
        let data = batch.data().ok_or("its dictionary has no data")?;
        let mut buffers = Buffers::of(&data, body)?;
        let strings = Strings::take(&mut buffers)?;
        if !batch.isDelta() {
            self.0.clear();
        }
        if self.0.len() + strings.rows > LIMIT {
            return Err("its dictionary has more than 128 words");
        }
        let mut used = 0;
        for row in 0..strings.rows {
            let word = strings
                .get(row, &mut used)
                .ok_or("its dictionary is cut off")?;
            self.0.push(Word::of(word));
        }
        Ok(())
    }
}
