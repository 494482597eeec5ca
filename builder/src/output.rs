//! Where a command's answer goes: stdout, or a file that appears only when it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{CommandError, Exit};

/// An answer that is being written.
pub(crate) struct Output(Target);

enum Target {
    Stdout(BufWriter<io::Stdout>),
    /// Written beside its place, then renamed.
    File {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
    /// A device or pipe: there is nothing to rename.
    Special {
        file: BufWriter<File>,
        path: PathBuf,
    },
}

impl Output {
    /// Opens it; stdout if there is no path.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self(Target::Stdout(BufWriter::new(io::stdout()))));
        };
        let metadata = fs_err::metadata(path);
        if metadata.is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            let file = OpenOptions::new().write(true).open(path);
            return Ok(Self(Target::Special {
                file: BufWriter::new(file.map_err(|error| refused(path, &error))?),
                path: path.to_owned(),
            }));
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".gilbuild-")
            .tempfile_in(folder)
            .map_err(|error| refused(path, &error))?;
        if path.is_dir() {
            return Err(refused(path, &io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self(Target::File {
            file: BufWriter::new(file),
            path: path.to_owned(),
        }))
    }

    /// Makes it complete.
    ///
    /// # Errors
    /// When the last of it cannot be written or the file cannot be put in its place.
    pub(crate) fn finish(mut self) -> Result<(), CommandError> {
        self.flush()?;
        match self.0 {
            Target::Stdout(_) | Target::Special { .. } => Ok(()),
            Target::File { file, path } => {
                let file = file
                    .into_inner()
                    .map_err(|error| refused(&path, error.error()))?;
                readable_as_any_file(file.path())?;
                file.persist(&path)
                    .map_err(|error| refused(&path, &error.error))?;
                Ok(())
            }
        }
    }
}

/// A temporary file is private; an answer is as readable as any file its user creates.
fn readable_as_any_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

fn refused(path: &Path, error: &io::Error) -> CommandError {
    CommandError::new(
        Exit::Failed,
        format!(
            "cannot write {}: {}; name a file in a folder that exists and is yours with -o",
            path.display(),
            reason(error)
        ),
    )
}

/// Why, without the name that the file bears before it is put in its place: tempfile adds it to what the system says.
fn reason(error: &io::Error) -> String {
    let said = error.to_string();
    match said.split_once(" at path ") {
        Some((reason, _)) => reason.to_owned(),
        None => said,
    }
}

impl Output {
    /// Says where it could not be written; whoever writes knows only that it could not.
    fn name(&self, error: &io::Error) -> io::Error {
        let place = match &self.0 {
            Target::Stdout(_) => "stdout".to_owned(),
            Target::File { path, .. } | Target::Special { path, .. } => path.display().to_string(),
        };
        io::Error::new(
            error.kind(),
            format!("cannot write {place}: {}", reason(error)),
        )
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.0 {
            Target::Stdout(stdout) => stdout.write(bytes),
            Target::File { file, .. } => file.write(bytes),
            Target::Special { file, .. } => file.write(bytes),
        };
        written.map_err(|error| self.name(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.0 {
            Target::Stdout(stdout) => stdout.flush(),
            Target::File { file, .. } => file.flush(),
            Target::Special { file, .. } => file.flush(),
        };
        flushed.map_err(|error| self.name(&error))
    }
}
