//! What official Python images do, in their slim form: docker-library/python is what these tables follow.

/// What CPython is compiled with.
pub(super) const BUILD_PACKAGES: [&str; 20] = [
    "dpkg-dev",
    "gcc",
    "libbluetooth-dev",
    "libbz2-dev",
    "libc6-dev",
    "libdb-dev",
    "libffi-dev",
    "libgdbm-dev",
    "liblzma-dev",
    "libncurses-dev",
    "libreadline-dev",
    "libsqlite3-dev",
    "libssl-dev",
    "make",
    "patch",
    "systemtap-sdt-dev",
    "tk-dev",
    "uuid-dev",
    "xz-utils",
    "zlib1g-dev",
];

/// Where the source is unpacked in the build root.
pub(super) const SOURCE: &str = "/usr/src/python";

/// Where the interpreter stands in an image.
pub const PREFIX: &str = "/usr/local";

/// Symbols are of no use in production; markers are notes and stay.
pub(super) const LINKER_FLAGS: &str = "-Wl,--strip-all";

/// Folders that are left out: CPython's own tests.
pub(crate) const LEFT_OUT_FOLDERS: [&str; 3] = ["test", "tests", "idle_test"];

/// Compiled files hold the times of their sources, which change in an image.
pub(crate) const LEFT_OUT_SUFFIXES: [&str; 2] = ["pyc", "pyo"];

/// Programs and libraries that do not decide which packages are installed: tkinter would bring X.
pub(super) const WITHOUT_PACKAGES: [&str; 1] = ["tkinter"];

/// What the image's environment has beside PATH and the version. `C.UTF-8` comes with every glibc.
pub(super) const LANG: &str = "C.UTF-8";

/// The path of an image that sets none.
pub(super) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container runs without a command.
pub(super) const COMMAND: [&str; 1] = ["python3"];
