//! Images written by this crate, read by the tools that others use: skopeo, umoci, podman.

#![expect(
    clippy::unwrap_used,
    reason = "what a test needs and does not get is a failure"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use gil_containers::archive::{ArchiveError, open_oci_archive};
use gil_containers::base::Base;
use gil_containers::docker_archive::open_docker_archive;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Changes, Compression, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::output::Output;
use gil_containers::platform::Platform;
use gil_tests::not_run;

/// Two layers of a small tree: the second changes a file, removes one and adds one.
fn image(folder: &Path, compression: Compression) -> (Layout, Image) {
    let root = folder.join("tree");
    let path = |name: &str| root.join(name);
    fs_err::create_dir_all(path("usr/bin")).unwrap();
    fs_err::create_dir_all(path("etc")).unwrap();
    fs_err::write(path("usr/bin/tool"), "#!/bin/sh\n".repeat(500)).unwrap();
    fs_err::hard_link(path("usr/bin/tool"), path("usr/bin/tool2")).unwrap();
    fs_err::os::unix::fs::symlink("usr/bin", path("bin")).unwrap();
    fs_err::write(path("etc/changed"), "before").unwrap();
    fs_err::write(path("etc/removed"), "x").unwrap();
    fs_err::create_dir(path("etc").join("x".repeat(120))).unwrap();
    fs_err::write(path("etc").join("x".repeat(120)).join("deep"), "long").unwrap();

    let layout = Layout::create(&folder.join("layout")).unwrap();
    let mut image = Image::empty(&Platform::host());
    let options = LayerOptions {
        newest_s: 1_700_000_000,
        compression,
        created_by: "test".to_owned(),
    };
    let first = Snapshot::of(&root).unwrap();
    let all = Snapshot::empty().changes_to(&first);
    image.add_layer(&layout, &root, &all, &options).unwrap();

    fs_err::write(path("etc/changed"), "behind").unwrap();
    fs_err::remove_file(path("etc/removed")).unwrap();
    fs_err::write(path("etc/added"), "new").unwrap();
    let changes = first.changes_to(&Snapshot::of(&root).unwrap());
    image.add_layer(&layout, &root, &changes, &options).unwrap();
    image.configuration.set_command(&["/usr/bin/tool"]);
    (layout, image)
}

fn write(output: &str, layout: &Layout, image: &Image) -> String {
    let output: Output = output.parse().unwrap();
    let descriptor = output.write(layout, image, Some("example:1")).unwrap();
    descriptor.digest().to_string()
}

/// Runs a tool, or says that it is not there.
fn tool(test: &str, program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            not_run(test, &format!("{program} is not installed"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_written_unpacks_to_the_same_tree() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let folder = tempfile::tempdir().unwrap();
        let (layout, image) = image(folder.path(), compression);
        let target = folder.path().join("target");
        fs_err::create_dir(&target).unwrap();
        image.unpack(&layout, &target).unwrap();
        let tree = Snapshot::of(&folder.path().join("tree")).unwrap();
        let changes = tree.changes_to(&Snapshot::of(&target).unwrap());
        assert_eq!(changes, Changes::default(), "{compression}");
    }
}

#[test]
fn built_twice_in_different_folders_it_has_the_same_digest() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let digests: Vec<String> = (0..2)
            .map(|_| {
                let folder = tempfile::tempdir().unwrap();
                let (layout, image) = image(folder.path(), compression);
                let output = format!("oci:{}", folder.path().join("out").display());
                write(&output, &layout, &image)
            })
            .collect();
        assert_eq!(digests[0], digests[1], "{compression}");
    }
}

#[test]
fn an_archive_of_docker_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, image) = image(folder.path(), Compression::Gzip);
    let file = folder.path().join("image.tar");
    write(
        &format!("docker-archive:{}:team/app:1", file.display()),
        &layout,
        &image,
    );
    let again = |name: &str, work: &str| {
        let base: Base = format!("docker-archive:{}{name}", file.display())
            .parse()
            .unwrap();
        let work = folder.path().join(work);
        fs_err::create_dir(&work).unwrap();
        let layout = Layout::create(&work.join("layout")).unwrap();
        let files = work.join("files");
        fs_err::create_dir(&files).unwrap();
        let Base::DockerArchive(file, name) = base else {
            panic!("{base} is an archive of Docker's")
        };
        let platform = Platform::host();
        let image = open_docker_archive(&file, name.as_deref(), &files, &layout, &platform)?;
        let root = work.join("root");
        fs_err::create_dir(&root).unwrap();
        image.unpack(&layout, &root)?;
        Ok::<_, ArchiveError>(image)
    };
    for (name, work) in [("", "only"), (":team/app:1", "named")] {
        let read = again(name, work).unwrap();
        assert_eq!(read.configuration, image.configuration);
        assert_eq!(read.layers().len(), image.layers().len());
    }
    let error = again(":team/app:2", "missing").unwrap_err().to_string();
    assert!(
        error.contains("team/app:2") && error.contains("team/app:1"),
        "{error}"
    );
}

#[test]
fn an_archive_is_the_layout_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, image) = image(folder.path(), Compression::Gzip);
    let file = folder.path().join("image.tar");
    let digest = write(
        &format!("oci-archive:{}:1", file.display()),
        &layout,
        &image,
    );
    let again = open_oci_archive(&file, &folder.path().join("again")).unwrap();
    let found = again.find(Some("1")).unwrap();
    assert_eq!(found.digest().to_string(), digest);
    let read = Image::load(&again, &found, &Platform::host()).unwrap();
    assert_eq!(read.configuration, image.configuration);
    let error = again.find(Some("2")).unwrap_err().to_string();
    assert!(error.contains('2') && error.contains('1'), "{error}");
}

#[test]
fn a_second_image_joins_the_first_in_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, mut image) = image(folder.path(), Compression::Gzip);
    let out = folder.path().join("out");
    write(&format!("oci:{}:one", out.display()), &layout, &image);
    image.configuration.set_label("which", "two");
    write(&format!("oci:{}:two", out.display()), &layout, &image);
    image.configuration.set_label("which", "three");
    let third = write(&format!("oci:{}:two", out.display()), &layout, &image);
    let target = Layout::open(&out).unwrap();
    assert_eq!(target.index().unwrap().manifests().len(), 2);
    assert_eq!(
        target.find(Some("two")).unwrap().digest().to_string(),
        third
    );
    assert!(target.find(None).is_err());
}

/// A file system of so many bytes, for as long as this lives.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}"),
                "gilbuild-test",
            ])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
    let test = "a_full_disk_is_an_error_and_leaves_nothing_behind";
    let folder = tempfile::tempdir().unwrap();
    let (layout, image) = image(folder.path(), Compression::None);
    let Some(disk) = Disk::of(8192) else {
        return not_run(test, "this user may not mount a file system");
    };
    for form in ["oci-archive", "docker-archive", "oci"] {
        let place = disk.0.path().join(form);
        let output: Output = format!("{form}:{}", place.display()).parse().unwrap();
        let error = output
            .write(&layout, &image, Some("example:1"))
            .unwrap_err();
        assert!(
            error.to_string().contains("No space left"),
            "{form}: {error}"
        );
        // A folder lists no image that is not whole.
        let listed = Layout::open(&place).map(|layout| layout.index().unwrap().manifests().len());
        assert!(matches!(listed, Ok(0) | Err(_)), "{form}: {listed:?}");
        assert!(form == "oci" || !place.exists(), "{form}");
    }
}

#[test]
fn skopeo_and_umoci_verify_a_layout() {
    let test = "skopeo_and_umoci_verify_a_layout";
    let folder = tempfile::tempdir().unwrap();
    let (layout, image) = image(folder.path(), Compression::Gzip);
    let out = folder.path().join("out");
    let digest = write(&format!("oci:{}:1", out.display()), &layout, &image);
    let source = format!("oci:{}:1", out.display());
    if let Some(inspected) = tool(test, "skopeo", &["inspect", &source]) {
        assert!(inspected.contains(&digest), "{inspected}");
        let copy = format!("dir:{}", folder.path().join("copy").display());
        tool(
            test,
            "skopeo",
            &["copy", "--insecure-policy", &source, &copy],
        );
    }
    let bundle = folder.path().join("bundle");
    let image = format!("{}:1", out.display());
    let arguments: &[&str] = if may_own_files() {
        &["unpack", "--image", &image, text(&bundle)]
    } else {
        &["unpack", "--rootless", "--image", &image, text(&bundle)]
    };
    if tool(test, "umoci", arguments).is_some() {
        let rootfs = bundle.join("rootfs");
        assert_eq!(
            fs_err::read_to_string(rootfs.join("etc/changed")).unwrap(),
            "behind"
        );
        assert!(!rootfs.join("etc/removed").exists());
        assert!(rootfs.join("bin/tool2").is_file());
    }
}

#[test]
fn archives_are_read_by_skopeo() {
    let test = "archives_are_read_by_skopeo";
    let folder = tempfile::tempdir().unwrap();
    for (compression, format) in [
        (Compression::Gzip, "oci-archive"),
        (Compression::Zstd, "oci-archive"),
        (Compression::Gzip, "docker-archive"),
        (Compression::Zstd, "docker-archive"),
    ] {
        let here = folder.path().join(format!("{format}-{compression}"));
        let (layout, image) = image(&here, compression);
        let file: PathBuf = here.join("image.tar");
        write(&format!("{format}:{}", file.display()), &layout, &image);
        let source = format!("{format}:{}", file.display());
        let target = format!("dir:{}", here.join("copy").display());
        tool(
            test,
            "skopeo",
            &["copy", "--insecure-policy", &source, &target],
        );
    }
}

fn may_own_files() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0\n")
}
