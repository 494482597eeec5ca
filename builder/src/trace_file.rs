//! Reads a trace from a file or stdin, with a progress bar for long ones.

use std::io::{self, Read};
use std::path::Path;

use gil_report::{IntervalSink, Options, Summary};

use crate::error::{CommandError, Exit};
use crate::terminal::{Progress, Unit};

/// Files smaller than this are read before a bar would be seen.
const WORTH_A_BAR: u64 = 64 << 20;

/// Reads one trace or saved report.
///
/// # Errors
/// When it cannot be opened or is neither.
pub(crate) fn summarise(
    path: &Path,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<Summary, CommandError> {
    let summary = read(path, |source| gil_report::summarise(source, options, sink))?;
    summary.map_err(|error| CommandError::new(Exit::Failed, format!("{}: {error}", path.display())))
}

/// Hands a file, or stdin, to a reader.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn read<T>(
    path: &Path,
    reader: impl FnOnce(&mut dyn Read) -> T,
) -> Result<T, CommandError> {
    if path == Path::new("-") {
        return Ok(reader(&mut io::stdin().lock()));
    }
    let file = fs_err::File::open(path)?;
    let total = file.metadata()?.len();
    let mut source = Watched {
        source: file,
        progress: (total >= WORTH_A_BAR)
            .then(|| Progress::start("Reading", &path.display().to_string())),
        done: 0,
        total,
    };
    let result = reader(&mut source);
    if let Some(progress) = source.progress {
        progress.finish();
    }
    Ok(result)
}

/// Tells how far the reading is.
struct Watched<R> {
    source: R,
    progress: Option<Progress>,
    done: u64,
    total: u64,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.done += count as u64;
        if let Some(progress) = &self.progress {
            progress.position(self.done, self.total, Unit::Bytes);
        }
        Ok(count)
    }
}
