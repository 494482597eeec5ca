//! Which files a process has mapped: `/proc/PID/maps`, and the path under which each is reachable from here.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

/// A file that a process has mapped, once for each file, in the order of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// Its path as the process sees it, without the kernel's ` (deleted)`.
    pub(crate) path: PathBuf,
    /// The path by which it can be opened from here, whatever root the process has and whether or not it was deleted.
    pub(crate) reachable: PathBuf,
    /// Device and inode: what tells two files apart.
    pub(crate) identity: (String, u64),
    /// Whether some of it is mapped as code.
    pub(crate) executable: bool,
    /// The parts of the file that are mapped to be written to, each as a range of offsets.
    pub(crate) writable: Vec<Range<u64>>,
}

impl MappedFile {
    /// The file's own name, lossily.
    pub(crate) fn name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// The files that process `pid` has mapped.
///
/// # Errors
///
/// Those of reading `/proc/PID/maps`: the process is gone, or belongs to somebody else.
pub(crate) fn mapped_files(pid: u32) -> io::Result<Vec<MappedFile>> {
    let text = fs::read(format!("/proc/{pid}/maps"))?;
    let root = root(pid);
    let mut files: Vec<MappedFile> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Some(file) = parse(pid, &root, line) else {
            continue;
        };
        match files
            .iter_mut()
            .find(|known| known.identity == file.identity)
        {
            Some(known) => {
                known.executable |= file.executable;
                known.writable.extend(file.writable);
            }
            None => files.push(file),
        }
    }
    Ok(files)
}

/// A part of a file that a process has mapped as code.
#[derive(Clone, Debug)]
pub(crate) struct CodeMapping {
    /// Where in the process.
    pub(crate) addresses: Range<u64>,
    /// Which byte of the file is at the first of them.
    pub(crate) offset: u64,
    pub(crate) file: MappedFile,
}

/// What process `pid` has mapped as code; nothing when it is gone.
pub(crate) fn code_mappings(pid: u32) -> Vec<CodeMapping> {
    let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let root = root(pid);
    text.split(|&byte| byte == b'\n')
        .filter_map(|line| parse_mapping(pid, &root, line))
        .filter(|mapping| mapping.file.executable)
        .collect()
}

/// The root of a process, as seen from here: `/`, unless it has been changed within our own mounts (`chroot`). The kernel then
/// names the files in `maps` as we do, and not as the process does.
fn root(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| PathBuf::from("/"))
}

fn parse(pid: u32, root: &Path, line: &[u8]) -> Option<MappedFile> {
    parse_mapping(pid, root, line).map(|mapping| mapping.file)
}

/// One line: `START-END PERMISSIONS OFFSET DEVICE INODE      PATH`.
fn parse_mapping(pid: u32, root: &Path, line: &[u8]) -> Option<CodeMapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let addresses = std::str::from_utf8(fields.next()?).ok()?;
    let (permissions, offset) = (fields.next()?, hexadecimal(fields.next()?)?);
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let inode: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let path = fields.next()?.trim_ascii_start();
    if !path.starts_with(b"/") {
        return None;
    }

    let (start, end) = addresses.split_once('-')?;
    let (start, end) = (hexadecimal(start.as_bytes())?, hexadecimal(end.as_bytes())?);
    let deleted = path.strip_suffix(b" (deleted)");
    let path = PathBuf::from(OsString::from_vec(unescape(deleted.unwrap_or(path))));
    let inside = path
        .strip_prefix(root)
        .ok()
        .map(|inside| Path::new("/").join(inside));
    let reachable = if deleted.is_some() {
        // `maps` pads addresses with zeros, the names in `map_files` do not.
        PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))
    } else if let Some(inside) = &inside {
        under_root(pid, inside)
    } else {
        path.clone()
    };
    let path = inside.unwrap_or(path);
    let in_file = offset..offset.saturating_add(end.saturating_sub(start));
    let file = MappedFile {
        path,
        reachable,
        identity: (device.to_owned(), inode),
        executable: permissions.contains(&b'x'),
        writable: Vec::from_iter(permissions.contains(&b'w').then_some(in_file)),
    };
    Some(CodeMapping {
        addresses: start..end,
        offset,
        file,
    })
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// Where in its file the byte at `address` of process `pid` is. `None` if no file is mapped there.
pub(crate) fn file_offset(pid: u32, address: u64) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.splitn(4, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        (start..end)
            .contains(&address)
            .then(|| offset + (address - start))
    })
}

/// Where process `pid` has mapped the first byte of a file, which is given as reachable from here. `None` if it has not.
pub(crate) fn load_address(pid: u32, reachable: &Path) -> Option<u64> {
    let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let root = root(pid);
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let fields = std::str::from_utf8(line).ok()?;
        let mut fields = fields.splitn(4, ' ');
        let (start, _) = fields.next()?.split_once('-')?;
        let is_first = u64::from_str_radix(fields.nth(1)?, 16) == Ok(0);
        let start = u64::from_str_radix(start, 16).ok()?;
        (is_first && parse(pid, &root, line)?.reachable == reachable).then_some(start)
    })
}

/// `/proc/PID/root` in front of a path: through it, files of another mount namespace open as well.
pub(crate) fn under_root(pid: u32, path: &Path) -> PathBuf {
    let mut whole = OsString::from(format!("/proc/{pid}/root"));
    whole.push(path);
    PathBuf::from(whole)
}

/// The kernel writes a newline in a path as `\012`.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            bytes.push(b'\n');
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    bytes
}

/// Whether bpftrace's syntax takes this path as it is, without quoting.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.as_os_str()
        .as_bytes()
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` stands in the names of prefixes that are built with both optimisations, and bpftrace 0.17 takes it for an operator.
    #[test]
    fn what_bpftrace_reads_as_operators_is_not_plain() {
        for path in ["/opt/pgo+lto/lib", "/opt/my python", "/opt/a:b", "/opt/é"] {
            assert!(!is_plain(Path::new(path)), "{path}");
        }
        assert!(is_plain(Path::new(
            "/proc/7/root/usr/local/lib/libpython3.13.so.1.0"
        )));
    }

    #[test]
    fn a_file_in_place_is_reached_through_the_root_of_the_process() {
        let line = b"7f0c5a200000-7f0c5a3b0000 r-xp 00022000 fd:01 1234                       /usr/lib/my libpython3.13.so.1.0";
        let file = parse(42, Path::new("/"), line).unwrap();
        assert_eq!(file.path, Path::new("/usr/lib/my libpython3.13.so.1.0"));
        assert_eq!(
            file.reachable,
            Path::new("/proc/42/root/usr/lib/my libpython3.13.so.1.0")
        );
        assert_eq!(file.identity, ("fd:01".to_owned(), 1234));
    }

    #[test]
    fn a_process_in_a_root_of_its_own_names_files_from_there() {
        let line = b"7f0c5a200000-7f0c5a3b0000 r-xp 00022000 fd:01 1234 /srv/jail/usr/lib/libpython3.13.so.1.0";
        let file = parse(42, Path::new("/srv/jail"), line).unwrap();
        assert_eq!(file.path, Path::new("/usr/lib/libpython3.13.so.1.0"));
        assert_eq!(
            file.reachable,
            Path::new("/proc/42/root/usr/lib/libpython3.13.so.1.0")
        );
        // Mapped before the root was changed.
        let line = b"7f0c5a200000-7f0c5a3b0000 r-xp 00022000 fd:01 1234 /usr/lib/libc.so.6";
        let file = parse(42, Path::new("/srv/jail"), line).unwrap();
        assert_eq!(file.reachable, Path::new("/usr/lib/libc.so.6"));
    }

    #[test]
    fn a_deleted_file_is_reached_through_its_mapping() {
        let line = b"00400000-00401000 r-xp 00000000 fd:01 99 /opt/python3.13 (deleted)";
        let file = parse(42, Path::new("/"), line).unwrap();
        assert_eq!(file.path, Path::new("/opt/python3.13"));
        assert_eq!(
            file.reachable,
            Path::new("/proc/42/map_files/400000-401000")
        );
    }

    #[test]
    fn anonymous_and_special_mappings_are_no_files() {
        assert_eq!(
            parse(
                1,
                Path::new("/"),
                b"7ffd000-7ffe000 rw-p 00000000 00:00 0                          [stack]"
            ),
            None
        );
        let root = Path::new("/");
        let anonymous = b"7ffd000-7ffe000 rw-p 00000000 00:00 0 ";
        assert_eq!(parse(1, root, anonymous), None);
        assert_eq!(parse(1, root, b""), None);
    }

    #[test]
    fn this_process_has_mapped_its_own_executable() {
        let own = std::env::current_exe().unwrap();
        let files = mapped_files(std::process::id()).unwrap();
        assert!(files.iter().any(|file| file.path == own));
    }
}
