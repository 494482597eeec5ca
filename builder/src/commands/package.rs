//! `gilbuild package`: from an installed prefix to archives that uv, pyenv and others install.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gil_containers::layer::Compression;
use gil_containers::time::rfc3339;

use crate::build::prefix::{self, BuildRecord, RECORD};
use crate::environment::SOURCE_DATE_EPOCH;
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::output::Output;
use crate::package::archive;
use crate::package::contents::Contents;
use crate::package::metadata::{DOWNLOADS, Downloads, Package, SUMS, sums};
use crate::package::strip::Stripped;
use crate::sources::{Sha256, VersionError};
use crate::terminal;

/// Make archives of an interpreter that uv, pyenv and others install
///
/// Writes them into a folder, with the list that uv reads (--python-downloads-json-url), checksums, the list of what is in them, and a
/// definition for pyenv. What the folder has of other interpreters stays. Prints the archives' paths on stdout.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A prefix that gilbuild has built, or the version of one (3.13, 3.13.5, 3.13t): the newest
    #[arg(value_name = "PREFIX|VERSION")]
    subject: String,
    /// The folder to write into
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// The forms of the archive; the first is the one that uv and pyenv are told of
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Form::Gzip])]
    format: Vec<Form>,
    /// Leave out debug information, most of the size
    #[arg(long)]
    strip: bool,
    /// Where the archives will be served from, for uv's list and pyenv's definition [default: the folder itself, as file://]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The forms of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// What everything reads
    #[value(name = "tar.gz")]
    Gzip,
    /// Smaller, and faster to unpack
    #[value(name = "tar.zst")]
    Zstd,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Self::Gzip => "tar.gz",
            Self::Zstd => "tar.zst",
        }
    }

    fn compression(self) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When there is no such prefix, it was not made by gilbuild, or a file cannot be read or written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::new(Exit::Failed, error.to_string());
    let prefix = find(&arguments.subject)?;
    let time_s = time(&prefix)?;
    let contents = Contents::of(&prefix, time_s).map_err(|error| failed(&error))?;
    let package = Package {
        record: &contents.record,
        version: contents
            .record
            .python
            .parse()
            .map_err(|error: VersionError| failed(&error))?,
        day: &rfc3339(time_s)[..10].replace('-', ""),
        stripped: arguments.strip,
    };
    let stripped = if arguments.strip {
        Stripped::Yes
    } else {
        Stripped::No
    };
    fs_err::create_dir_all(&arguments.output)?;
    let folder = fs_err::canonicalize(&arguments.output)?;
    let base = arguments
        .url
        .clone()
        .unwrap_or_else(|| format!("file://{}", folder.display()));

    let mut files = Vec::new();
    for form in &arguments.format {
        let name = format!("{}.{}", package.name(), form.ending());
        terminal::step("Packaging", &name);
        let mut output = Output::new(Some(&folder.join(&name)))?;
        let digest = archive::write(&contents, stripped, time_s, form.compression(), &mut output)?;
        output.finish()?;
        files.push((name, digest.hex().to_owned()));
    }
    let (name, sum) = files[0].clone();
    let url = format!(
        "{}/{}",
        base.trim_end_matches('/'),
        name.replace('+', "%2B")
    );

    let sbom = format!("{}.spdx.json", package.name());
    write(&folder.join(&sbom), &contents.sbom)?;
    files.push((
        sbom,
        Sha256::of_reader(contents.sbom.as_bytes())?.to_string(),
    ));

    let (key, download) = package.download(url.clone(), sum.clone());
    let mut downloads: Downloads = match fs_err::read(folder.join(DOWNLOADS)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            CommandError::new(
                Exit::Failed,
                format!(
                    "{} is no list of downloads ({error}): remove it, or name another folder with --output",
                    folder.join(DOWNLOADS).display()
                ),
            )
        })?,
        Err(_) => Downloads::new(),
    };
    downloads.insert(key, download);
    let text = serde_json::to_string_pretty(&downloads).map_err(|error| failed(&error))? + "\n";
    write(&folder.join(DOWNLOADS), &text)?;

    let (definition, text) = package.pyenv(&url, &sum);
    fs_err::create_dir_all(folder.join("pyenv"))?;
    write(&folder.join("pyenv").join(definition), &text)?;

    let before = fs_err::read_to_string(folder.join(SUMS)).unwrap_or_default();
    write(&folder.join(SUMS), &sums(&before, &files))?;
    for form in &arguments.format {
        let name = format!("{}.{}", package.name(), form.ending());
        terminal::result(&folder.join(name).display().to_string())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    use std::io::Write as _;
    let mut output = Output::new(Some(path))?;
    output.write_all(text.as_bytes())?;
    output.finish()
}

/// `SOURCE_DATE_EPOCH`, else the time when the prefix was completed.
fn time(prefix: &Path) -> Result<u64, CommandError> {
    use std::os::unix::fs::MetadataExt as _;
    match std::env::var(SOURCE_DATE_EPOCH) {
        Ok(text) => text.parse().map_err(|_| {
            CommandError::new(
                Exit::Usage,
                format!("{SOURCE_DATE_EPOCH}={text} is no number of seconds since 1970"),
            )
        }),
        Err(_) => Ok(fs_err::metadata(prefix.join(RECORD))
            .map_or(0, |metadata| u64::try_from(metadata.mtime()).unwrap_or(0))),
    }
}

/// The prefix that was named, or the newest with markers of that version.
fn find(subject: &str) -> Result<PathBuf, CommandError> {
    let path = Path::new(subject);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let (number, free_threaded) = match subject.strip_suffix('t') {
        Some(number) => (number, true),
        None => (subject, false),
    };
    let is_wanted = |record: &BuildRecord| {
        let series = format!("{number}.");
        record.free_threaded == free_threaded
            && (record.python == number || record.python.starts_with(&series))
            && record.markers != crate::build::options::Markers::None
    };
    let home = folders::home().map_err(|error| CommandError::because(Exit::Failed, &error))?;
    let built = prefix::list(&home.join("pythons"))?;
    built
        .into_iter()
        .filter(|(_, record)| is_wanted(record))
        .max_by_key(|(prefix, _)| {
            fs_err::metadata(prefix.join(RECORD))
                .and_then(|metadata| metadata.modified())
                .ok()
        })
        .map(|(prefix, _)| prefix)
        .ok_or_else(|| {
            CommandError::new(
                Exit::Failed,
                format!(
                    "{subject} is no folder, and no interpreter of that version was built: `gilbuild build {subject}` builds one, `gilbuild list` shows those that there are"
                ),
            )
        })
}
