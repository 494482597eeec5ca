//! `gilbuild.toml`: versions, variants, distributions and markers, and what all builds have in common.

use std::path::{Path, PathBuf};

use gil_containers::base::{Base, UnknownBase};
use gil_containers::registry::Reference;
use serde::Deserialize;

use crate::build::options::{Markers, Optimize};
use crate::build::patching;
use crate::sources::{Request, RequestError, Series};

/// The name of the file.
pub const NAME: &str = "gilbuild.toml";

/// The distribution that stands for the machine itself: an interpreter for it, and no image.
pub const HOST: &str = "host";

/// Nobody writes so much by hand.
const LARGEST: u64 = 1 << 20;

/// How like a name must be to one that is known (Jaro-Winkler, 1 is the same) to be taken for a slip of the pen.
const ALIKE: f64 = 0.75;

/// What a team builds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatrixFile {
    /// Series (`3.13`) or releases (`3.13.5`).
    pub versions: Vec<String>,
    /// With the GIL, and without.
    pub variants: Vec<Variant>,
    /// What images start from, as `gilbuild image --base` takes it, or `host`.
    pub distributions: Vec<String>,
    /// The markers and their nop.
    pub markers: Vec<Markers>,
    /// The compiler's effort.
    pub optimize: Optimize,
    /// Arguments for `configure` beside those that every build gets.
    pub configure: Vec<String>,
    /// Patches that are applied after gilbuild's own; relative to the file.
    pub patches: Vec<PathBuf>,
    /// What images are called in registries; names in braces stand for what tells the cells apart.
    pub tags: Vec<String>,
    /// Cells that are left out.
    pub exclude: Vec<Exclude>,
}

/// With the GIL, and without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The ordinary build.
    Gil,
    /// The build that `t` behind the version stands for.
    FreeThreaded,
}

/// Cells that are left out: those that have everything that is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exclude {
    /// As `versions` has it.
    pub version: Option<String>,
    /// As `variants` has it.
    pub variant: Option<Variant>,
    /// As `distributions` has it.
    pub distribution: Option<String>,
    /// As `markers` has them.
    pub markers: Option<Markers>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no such file.
    #[error("{} has {size} bytes: that is no {NAME}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// It says something that is not understood.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, and the way out.
        message: String,
    },
    /// It says something that cannot be built.
    #[error("{}: {reason}", path.display())]
    Nonsense {
        /// The file.
        path: PathBuf,
        /// What cannot be built.
        #[source]
        reason: NonsenseError,
    },
}

/// Something that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NonsenseError {
    /// A version that is none, or not supported.
    #[error(transparent)]
    Version(#[from] RequestError),
    /// A version with a `t`, which is what variants are for.
    #[error(
        "`{0}` names a variant: say the version without its `t`, and `variants = [\"free-threaded\"]`"
    )]
    VersionWithVariant(String),
    /// A distribution that is none.
    #[error("{0}, or {HOST}")]
    Distribution(#[from] UnknownBase),
    /// A list with nothing in it.
    #[error("`{0}` is empty, so there is nothing to build")]
    Empty(&'static str),
    /// A tag with a name in braces that stands for nothing.
    #[error(
        "in the tag `{tag}`, `{name}` stands for nothing; there are {{python}}, {{distribution}} and {{markers}}"
    )]
    Placeholder {
        /// The tag.
        tag: String,
        /// What it has in braces.
        name: String,
    },
    /// A tag that no registry takes.
    #[error("the tag `{tag}` would be `{rendered}`: {reason}")]
    Tag {
        /// The tag.
        tag: String,
        /// With names put in.
        rendered: String,
        /// Why not.
        reason: String,
    },
    /// Two cells that nothing tells apart.
    #[error(
        "{0} and {1} would both be called `{2}`: put what tells them apart into the tag, as {{python}}, {{distribution}} or {{markers}}"
    )]
    SameTag(String, String, String),
    /// The same cell twice.
    #[error("the cell {0} is there twice")]
    SameCell(String),
}

impl Default for MatrixFile {
    /// What there is to build where a team has said nothing: every supported series.
    fn default() -> Self {
        Self {
            versions: patching::supported()
                .iter()
                .map(Series::to_string)
                .collect(),
            variants: vec![Variant::Gil],
            distributions: vec!["bookworm".to_owned()],
            markers: vec![Markers::Nop],
            optimize: Optimize::PgoLto,
            configure: Vec::new(),
            patches: Vec::new(),
            tags: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl MatrixFile {
    /// Reads a file. Paths in it become those of its folder.
    ///
    /// # Errors
    /// When it cannot be read or says what is not understood.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let size = fs_err::metadata(path)?.len();
        if size > LARGEST {
            let path = path.to_owned();
            return Err(FileError::TooLarge { path, size });
        }
        let text = fs_err::read_to_string(path)?;
        let mut file: Self = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            FileError::Syntax {
                path: path.to_owned(),
                line: 1 + text.get(..at).unwrap_or_default().matches('\n').count(),
                message: explain(error.message()),
            }
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for patch in &mut file.patches {
            *patch = folder.join(&patch);
        }
        file.check().map_err(|reason| FileError::Nonsense {
            path: path.to_owned(),
            reason,
        })?;
        Ok(file)
    }

    /// Whether everything in it can be built, as far as its words tell.
    fn check(&self) -> Result<(), NonsenseError> {
        for (name, is_empty) in [
            ("versions", self.versions.is_empty()),
            ("variants", self.variants.is_empty()),
            ("distributions", self.distributions.is_empty()),
            ("markers", self.markers.is_empty()),
        ] {
            if is_empty {
                return Err(NonsenseError::Empty(name));
            }
        }
        for version in &self.versions {
            let request = Request::parse(version, &patching::supported())?;
            if request.free_threaded {
                return Err(NonsenseError::VersionWithVariant(version.clone()));
            }
        }
        for distribution in self.distributions.iter().filter(|name| *name != HOST) {
            distribution.parse::<Base>()?;
        }
        Ok(())
    }
}

/// A tag for a cell. `values` are the names that it may have in braces, with what they stand for.
///
/// # Errors
/// When it has other names in braces, or is nothing that a registry takes.
pub(super) fn render(tag: &str, values: &[(&str, &str)]) -> Result<String, NonsenseError> {
    let mut rendered = String::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once('{') {
        // A brace that is never closed takes everything for a name, and none is like that.
        let (name, after) = after.split_once('}').unwrap_or((rest, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        let (_, value) = value.ok_or_else(|| NonsenseError::Placeholder {
            tag: tag.to_owned(),
            name: name.to_owned(),
        })?;
        rendered += before;
        rendered += value;
        rest = after;
    }
    rendered += rest;
    match rendered.parse::<Reference>() {
        Ok(_) => Ok(rendered),
        Err(error) => Err(NonsenseError::Tag {
            tag: tag.to_owned(),
            rendered,
            reason: error.to_string(),
        }),
    }
}

/// What serde says of a name that it does not know, with the one that may have been meant.
fn explain(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(wrong) = names.next().filter(|_| message.starts_with("unknown")) else {
        return message.to_owned();
    };
    let alike = |name: &&str| strsim::jaro_winkler(wrong, name);
    let best = names.max_by(|one, other| alike(one).total_cmp(&alike(other)));
    match best.filter(|best| alike(best) >= ALIKE) {
        Some(best) => format!("{message}; did you mean `{best}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MatrixFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs_err::write(&path, text).unwrap();
        MatrixFile::read(&path)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "F"))
    }

    #[test]
    fn an_empty_file_is_everything_with_a_patch() {
        assert_eq!(read("").unwrap(), MatrixFile::default());
    }

    #[test]
    fn patches_lie_beside_the_file() {
        let file = read("patches = [\"a.patch\", \"/b.patch\"]").unwrap();
        assert!(file.patches[0].is_absolute());
        assert_eq!(file.patches[1], Path::new("/b.patch"));
    }

    #[test]
    fn a_slip_of_the_pen_is_named_with_its_line_and_what_was_meant() {
        let message = read("markers = [\"nop\"]\n\nverions = []").unwrap_err();
        assert!(
            message.starts_with("F, line 3: unknown field `verions`"),
            "{message}"
        );
        assert!(message.ends_with("did you mean `versions`?"), "{message}");
        let message = read("[[exclude]]\ndistribtion = \"bookworm\"").unwrap_err();
        assert!(message.starts_with("F, line 2:"), "{message}");
        assert!(
            message.ends_with("did you mean `distribution`?"),
            "{message}"
        );
        let message = read("variants = [\"freethreaded\"]").unwrap_err();
        assert!(
            message.ends_with("did you mean `free-threaded`?"),
            "{message}"
        );
        let message = read("zzz = 1").unwrap_err();
        assert!(message.contains("expected one of `versions`"), "{message}");
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn what_cannot_be_built_says_why() {
        for (text, said) in [
            ("versions = [\"3.8\"]", "CPython 3.8 is not supported"),
            ("versions = [\"3.13t\"]", "`variants = [\"free-threaded\"]`"),
            ("versions = []", "`versions` is empty"),
            (
                "distributions = [\"bokworm\"]",
                "there is no base `bokworm`",
            ),
            ("versions = 3.13", "line 1"),
            ("versions = [", "line 1"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn tags_stand_for_what_they_say() {
        let values = [("python", "3.13t"), ("distribution", "bookworm")];
        let rendered = render("r.example/team/py:{python}-{distribution}", &values);
        assert_eq!(rendered.unwrap(), "r.example/team/py:3.13t-bookworm");
        for (tag, said) in [
            ("r.example/py:{version}", "`version` stands for nothing"),
            ("r.example/py:{python", "stands for nothing"),
            ("r.example/Py:{python}", "would be"),
        ] {
            let message = render(tag, &values).map_err(|error| error.to_string());
            assert!(
                message.clone().is_err_and(|text| text.contains(said)),
                "{tag}: {message:?}"
            );
        }
    }
}
