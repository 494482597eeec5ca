//! An interpreter put into an image: its libraries' packages, its files, what describes it, all in one layer.

use std::io;
use std::path::{Path, PathBuf};

use gil_containers::configuration::Configuration;
use gil_containers::debian::{self, PackageError};
use gil_containers::image::{Image, ImageError, LayerOptions};
use gil_containers::layer::{Layer, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::process::{self, ProcessError};
use gil_containers::root::{Network, Root};
use gil_containers::sbom::{self, Component};
use gil_probes::check::check;
use gil_probes::elf;

use super::interpreter::{Interpreter, copy};
use super::recipe;
use crate::build::options::Markers;
use crate::build::prefix::BuildRecord;
use crate::build::verification::{self, VerifyError};

/// Why the image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The base cannot be unpacked, or the layer not written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The packages of the interpreter's libraries cannot be installed.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A program failed; so may the new interpreter.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The interpreter is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where the image keeps what describes its interpreter, below the prefix.
const DESCRIPTION: &str = "share/gilbuild";
/// The list of what is in the image, in that folder.
const SBOM: &str = "sbom.spdx.json";

/// What has come onto the image.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The layer.
    pub layer: Layer,
    /// The list of what is in the image, an SPDX document.
    pub sbom: String,
}

/// Puts the interpreter onto the image. `work` is an empty folder for what is needed meanwhile.
///
/// # Errors
/// When a step fails; the image is then as it was.
pub fn assemble(
    image: &mut Image,
    layout: &Layout,
    interpreter: &Interpreter,
    work: &Path,
    options: &LayerOptions,
) -> Result<Assembled, AssembleError> {
    let target = work.join("target");
    fs_err::create_dir(&target)?;
    image.unpack(layout, &target)?;
    let before = Snapshot::of(&target)?;
    let root = Root::new(&target)?;

    let packages: Vec<String> = interpreter.packages.iter().cloned().collect();
    debian::install(&root, &packages, options.newest_s)?;
    let prefix = root.outside(Path::new(recipe::PREFIX));
    fs_err::create_dir_all(&prefix)?;
    copy(&interpreter.prefix.join("."), &prefix)?;
    add_pip(&prefix.join("bin"))?;
    describe(&prefix, &target, interpreter, options.newest_s)?;
    root.run("ldconfig", &[])?;
    for program in ["python3", "pip3"] {
        try_out(&root, program)?;
    }

    let mut changes = before.changes_to(&Snapshot::of(&target)?);
    changes.forget(debian::is_leftover);
    // dpkg keeps the state before its last change.
    changes.forget(|path| {
        path.starts_with("var/lib/dpkg") && path.to_string_lossy().ends_with("-old")
    });
    let layer = image.add_layer(layout, &target, &changes, options)?;
    configure(&mut image.configuration, &interpreter.record);
    let sbom = fs_err::read_to_string(prefix.join(DESCRIPTION).join(SBOM))?;
    Ok(Assembled { layer, sbom })
}

/// `ensurepip` leaves the name `pip` to whoever installs.
fn add_pip(bin: &Path) -> io::Result<()> {
    if bin.join("pip3").exists() && !bin.join("pip").exists() {
        fs_err::os::unix::fs::symlink("pip3", bin.join("pip"))?;
    }
    Ok(())
}

fn try_out(root: &Root, program: &str) -> Result<(), ProcessError> {
    let mut command = root.command(program, Path::new("/"), Network::None);
    command.arg("--version").env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(&mut command, "python3").map(drop)
}

/// Markers, scripts and the list of what is in the image.
fn describe(
    prefix: &Path,
    root: &Path,
    interpreter: &Interpreter,
    newest_s: u64,
) -> Result<(), AssembleError> {
    let folder = prefix.join(DESCRIPTION);
    fs_err::create_dir_all(&folder)?;
    if interpreter.record.markers != Markers::None {
        let file = verification::interpreter_file(prefix)?;
        let elf = elf::read(&file).map_err(VerifyError::from)?;
        let inside = Path::new("/").join(file.strip_prefix(root).unwrap_or(&file));
        let manifest = verification::manifest(&inside, &elf, &check(&elf));
        write_json(&folder.join("markers.json"), &manifest)?;
        for (name, text) in recipe::SCRIPTS {
            let path = folder.join(name);
            fs_err::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs_err::write(path, text)?;
        }
    }
    let mut components = vec![cpython(&interpreter.record)];
    components.extend(python_packages(prefix)?);
    components.extend(sbom::debian_packages(root)?);
    let name = format!("python-{}", interpreter.record.python);
    let document = sbom::spdx(&name, &components, newest_s);
    write_json(&folder.join(SBOM), &document)?;
    Ok(())
}

fn write_json(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs_err::write(path, text + "\n")
}

fn cpython(record: &BuildRecord) -> Component {
    Component {
        name: "cpython".to_owned(),
        version: record.python.clone(),
        purl: format!("pkg:generic/cpython@{}", record.python),
        origin: Some(record.source.clone()),
        sha256: Some(record.source_sha256.clone()),
        license: Some("PSF-2.0"),
    }
}

/// What is in site-packages, by the names of its `NAME-VERSION.dist-info` folders.
fn python_packages(prefix: &Path) -> io::Result<Vec<Component>> {
    let mut found = Vec::new();
    for library in folders_in(&prefix.join("lib"))? {
        for folder in folders_in(&library.join("site-packages"))? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let Some((name, version)) = name
                .strip_suffix(".dist-info")
                .and_then(|name| name.split_once('-'))
            else {
                continue;
            };
            found.push(Component {
                name: name.to_owned(),
                version: version.to_owned(),
                purl: format!("pkg:pypi/{}@{version}", name.to_lowercase()),
                origin: None,
                sha256: None,
                license: None,
            });
        }
    }
    Ok(found)
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The environment, the command and the labels.
fn configure(configuration: &mut Configuration, record: &BuildRecord) {
    let path = configuration
        .variable("PATH")
        .unwrap_or(recipe::DEFAULT_PATH)
        .to_owned();
    let bin = format!("{}/bin", recipe::PREFIX);
    if !path.starts_with(&format!("{bin}:")) {
        configuration.set_variable("PATH", &format!("{bin}:{path}"));
    }
    configuration.set_variable("LANG", recipe::LANG);
    configuration.set_variable("PYTHON_VERSION", &record.python);
    configuration.set_variable("PYTHON_SHA256", &record.source_sha256);
    configuration.set_command(&recipe::COMMAND);
    for (name, value) in labels(record) {
        configuration.set_label(name, &value);
    }
}

/// The prefix of the labels that are gilbuild's own.
fn labels(record: &BuildRecord) -> Vec<(&'static str, String)> {
    let patches: Vec<String> = record
        .patches
        .iter()
        .map(|patch| format!("{}@sha256:{}", patch.name, patch.sha256))
        .collect();
    let contract = match record.markers {
        Markers::None => String::new(),
        Markers::Nop | Markers::Nop5 => record.contract.to_string(),
    };
    [
        ("org.opencontainers.image.title", "python".to_owned()),
        ("org.opencontainers.image.version", record.python.clone()),
        ("org.opencontainers.image.licenses", "PSF-2.0".to_owned()),
        ("gilbuild.python", record.python.clone()),
        ("gilbuild.markers", record.markers.to_string()),
        ("gilbuild.contract", contract),
        ("gilbuild.optimize", record.optimize.to_string()),
        ("gilbuild.patches", patches.join(",")),
        ("gilbuild.inputs", record.inputs.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}
