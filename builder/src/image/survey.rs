//! The interpreter that an image has, found without running it: where it is, which release, how it was made, for which system.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gil_containers::root::Root;
use gil_probes::elf::{self, Image, ReadError};

use super::recipe;
use super::sysconfig::Sysconfig;
use crate::sources::Version;

/// An image's interpreter. Paths are those inside the image.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it was installed to.
    pub prefix: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// The library that has the interpreter's code, where it is shared.
    pub library: Option<PathBuf>,
    /// Its release.
    pub version: Version,
    /// Whether it is the free-threaded build.
    pub free_threaded: bool,
    /// The arguments that `configure` was given, apart from the prefix.
    pub configure: Vec<String>,
    /// What the program's file says of itself.
    pub program_elf: Image,
    /// What the file with the interpreter's code says of itself.
    pub code_elf: Image,
    /// The distribution of the image: `VERSION_CODENAME` of its os-release, where it has one.
    pub suite: Option<String>,
}

/// Why an image's interpreter is not known well enough to build it again.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// There is no CPython on the image's PATH.
    #[error("the image has no CPython on its PATH ({path}){}", others(seen))]
    NoPython {
        /// The image's PATH.
        path: String,
        /// Programs of that name that are something else.
        seen: Vec<PathBuf>,
    },
    /// The prefix has no notes about its own build.
    #[error(
        "{} has no variable {variable}: the image does not say how its interpreter was made",
        file.display()
    )]
    Variable {
        /// The module.
        file: PathBuf,
        /// What it lacks.
        variable: &'static str,
    },
    /// Its release cannot be read from its code.
    #[error("{} does not name one release of Python {series}, but {}", file.display(), if found.is_empty() { "none".to_owned() } else { found.join(" and ") })]
    Release {
        /// The file.
        file: PathBuf,
        /// What its name says.
        series: String,
        /// What is in it.
        found: Vec<String>,
    },
    /// A file is no ELF file.
    #[error(transparent)]
    Elf(#[from] ReadError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn others(seen: &[PathBuf]) -> String {
    let names: Vec<String> = seen.iter().map(|path| path.display().to_string()).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(
            "; {} has no lib/python3.*/_sysconfigdata_*.py beside it",
            names.join(", ")
        )
    }
}

/// The names that an interpreter goes by, the likelier first.
const NAMES: [&str; 2] = ["python3", "python"];
/// Larger files are no module of variables, and no interpreter.
const LARGEST_FILE: u64 = 512 << 20;

/// Finds the interpreter that a container's commands get.
///
/// # Errors
/// When there is none, or its files do not say how it was made.
pub fn survey(root: &Root, path: Option<&str>) -> Result<Found, SurveyError> {
    let path = path.unwrap_or(recipe::DEFAULT_PATH);
    let mut seen = Vec::new();
    for folder in path.split(':') {
        for name in NAMES {
            let Ok(program) = root.find(&Path::new(folder).join(name)) else {
                continue;
            };
            match sysconfig_file(root, &root.inside(&program))? {
                Some((prefix, file)) => return examine(root, &program, prefix, &file),
                None => seen.push(root.inside(&program)),
            }
        }
    }
    Err(SurveyError::NoPython {
        path: path.to_owned(),
        seen,
    })
}

/// The module of variables that belongs to a program, and the prefix that both are in.
fn sysconfig_file(root: &Root, program: &Path) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let (Some(name), Some(prefix)) = (program.file_name(), program.parent().and_then(Path::parent))
    else {
        return Ok(None);
    };
    let Ok(library) = root.find(&prefix.join("lib").join(name)) else {
        return Ok(None);
    };
    for entry in fs_err::read_dir(library)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_python = Path::new(&*name).extension().is_some_and(|end| end == "py");
        if name.starts_with("_sysconfigdata_") && is_python {
            return Ok(Some((prefix.to_owned(), root.inside(&entry.path()))));
        }
    }
    Ok(None)
}

fn examine(
    root: &Root,
    program: &Path,
    prefix: PathBuf,
    file: &Path,
) -> Result<Found, SurveyError> {
    let text = read(&root.find(file)?)?;
    let variables = Sysconfig::parse(&String::from_utf8_lossy(&text));
    let missing = |variable| SurveyError::Variable {
        file: file.to_owned(),
        variable,
    };
    let mut configure = variables
        .configure_arguments()
        .ok_or_else(|| missing("CONFIG_ARGS"))?;
    configure.retain(|argument| !argument.starts_with("--prefix="));
    let free_threaded = configure.iter().any(|argument| argument == "--disable-gil");
    let library = if configure
        .iter()
        .any(|argument| argument == "--enable-shared")
    {
        let name = variables
            .get("INSTSONAME")
            .ok_or_else(|| missing("INSTSONAME"))?;
        let folder = variables.get("LIBDIR").ok_or_else(|| missing("LIBDIR"))?;
        // A prefix may have been moved.
        let moved = root.find(&prefix.join("lib").join(name));
        Some(moved.or_else(|_| root.find(&Path::new(folder).join(name)))?)
    } else {
        None
    };
    let code = library.as_deref().unwrap_or(program);
    let program_name = program.file_name().unwrap_or_default().to_string_lossy();
    let series = program_name
        .trim_start_matches("python")
        .trim_end_matches('t');
    let version = release(&read(code)?, series).map_err(|found| SurveyError::Release {
        file: root.inside(code),
        series: series.to_owned(),
        found,
    })?;
    Ok(Found {
        program: root.inside(program),
        program_elf: elf::read(program)?,
        code_elf: elf::read(code)?,
        library: library.map(|library| root.inside(&library)),
        suite: suite(root),
        prefix,
        version,
        free_threaded,
        configure,
    })
}

/// The release that the interpreter's code names: `PY_VERSION` stands in it as a string of its own.
fn release(code: &[u8], series: &str) -> Result<Version, Vec<String>> {
    let start = format!("{series}.");
    let found: BTreeSet<String> = code
        .split(|byte| *byte == 0)
        .filter(|text| text.len() < 16 && text.starts_with(start.as_bytes()))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .filter(|text| text.parse::<Version>().is_ok())
        .collect();
    let found: Vec<String> = found.into_iter().collect();
    match &found[..] {
        [only] => only.parse().map_err(|_| found),
        _ => Err(found),
    }
}

fn suite(root: &Root) -> Option<String> {
    let file = root.find(Path::new("/etc/os-release")).ok()?;
    let text = String::from_utf8_lossy(&read(&file).ok()?).into_owned();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?
        .take(LARGEST_FILE)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Found {
    /// The files that its code is in: what is replaced.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        std::iter::once(self.program.as_path())
            .chain(self.library.as_deref())
            .collect()
    }

    /// What to ask for when it is built again.
    #[must_use]
    pub fn request(&self) -> String {
        let t = if self.free_threaded { "t" } else { "" };
        format!("{}{t}", self.version)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "CPython {} in {}",
            self.request(),
            self.prefix.display()
        )?;
        let system = self.suite.as_deref();
        system.map_or(Ok(()), |suite| write!(formatter, ", {suite}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_only_one_of_its_series() {
        let code = b"\x7fELF\x003.13\x003.2.0\x003.13.5\x00left 3.13.4\x003.13.5\x00";
        assert_eq!(release(code, "3.13"), Ok("3.13.5".parse().unwrap()));
        let two = b"3.13.5\x003.13.6\x00";
        assert_eq!(release(two, "3.13").unwrap_err(), ["3.13.5", "3.13.6"]);
        assert_eq!(release(code, "3.12"), Err(Vec::new()));
    }
}
