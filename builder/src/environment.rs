//! The names of the environment variables that gilbuild reads, each with what it means.

/// Where built interpreters are kept. Default: `$XDG_DATA_HOME/gilbuild`.
pub const GILBUILD_HOME: &str = "GILBUILD_HOME";

/// Folders that hold CPython source archives or an unpacked tree, separated by colons.
pub const GILBUILD_SOURCE_DIR: &str = "GILBUILD_SOURCE_DIR";

/// Base address of CPython's releases, for a mirror laid out like it. Default: `https://www.python.org`.
pub const GILBUILD_PYTHON_ORG: &str = "GILBUILD_PYTHON_ORG";

/// The user's cache folder, from the XDG base directory specification. Default: `$HOME/.cache`.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";

/// The user's data folder, from the XDG base directory specification. Default: `$HOME/.local/share`.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";

/// The user's home folder.
pub const HOME: &str = "HOME";

/// The time that everything made gets, at most, in seconds since 1970. Default for images: that of the source.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The C compiler, as `configure` reads it. Default: `gcc`.
pub const CC: &str = "CC";
