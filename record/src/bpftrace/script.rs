//! The bundled scripts, made ready for one process: what works by hand for any process given with `-p` is pointed at the
//! very file that was found.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::TempDir;

use crate::options::Mode;
use crate::scripts::{self, ANY_FILE};

/// A script in a private folder, which goes when this does.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Script {
    /// Writes the script for `mode`, pointed at the ELF file `file`, which may be that of a free-threaded interpreter; with `only`, the
    /// script itself looks at no other process.
    pub(crate) fn write(
        mode: Mode,
        file: &Path,
        free_threaded: bool,
        only: Option<u32>,
    ) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("gilbuild-").tempdir()?;
        let file = scripts::plain(file, folder.path())?;
        let path = folder.path().join("script.bt");
        fs::write(&path, render(mode, &file, free_threaded, only))?;
        Ok(Self { folder, path })
    }
}

fn render(mode: Mode, file: &Path, free_threaded: bool, only: Option<u32>) -> String {
    let (script, besides) = match mode {
        // It is not asked for the latter.
        Mode::Events | Mode::Slow(_) => (scripts::BPFTRACE_EVENTS.text, free_threaded),
        Mode::Summary => (scripts::BPFTRACE_SUMMARY.text, false),
    };
    let besides = if besides {
        probes(scripts::BPFTRACE_STALLS.text)
    } else {
        ""
    };
    let mut rendered = String::with_capacity(script.len() + besides.len() + 1024);
    let mut in_marker = false;
    for line in script.lines().chain(besides.lines()) {
        in_marker |= line.starts_with(ANY_FILE);
        rendered.push_str(&line.replace(ANY_FILE, &format!("usdt:{}:", file.display())));
        rendered.push('\n');
        if in_marker && line == "{" {
            in_marker = false;
            if let Some(pid) = only {
                // Writing to a String cannot fail.
                let _ = writeln!(rendered, "\tif (pid != {pid}) {{ return; }}");
            }
        }
    }
    rendered
}

/// What a script does at markers, without its beginning and its end.
fn probes(script: &str) -> &str {
    let begin = script.find(ANY_FILE).unwrap_or(script.len());
    let end = script.find("interval:").unwrap_or(script.len());
    script.get(begin..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_of_a_script_is_pointed_at_the_file() {
        let events = render(
            Mode::Events,
            Path::new("/proc/7/root/usr/lib/libpython3.13.so.1.0"),
            false,
            Some(7),
        );
        assert_eq!(events.matches("if (pid != 7)").count(), 5, "{events}");
        for marker in gil_probes::catalogue::MARKERS {
            let probe = format!(
                "usdt:/proc/7/root/usr/lib/libpython3.13.so.1.0:python:{}\n",
                marker.name
            );
            assert!(events.contains(&probe), "{probe}");
        }
        assert!(!events.contains(ANY_FILE));
        let stalls = render(Mode::Events, Path::new("/x"), true, Some(7));
        assert_eq!(stalls.matches("if (pid != 7)").count(), 9, "{stalls}");
        assert_eq!(stalls.matches("\nBEGIN\n").count(), 1);
        assert_eq!(stalls.matches("\nEND\n").count(), 1);
        for marker in gil_probes::catalogue::FREE_THREADING {
            let probe = format!("usdt:/x:python:{}\n", marker.name);
            assert!(stalls.contains(&probe), "{probe}");
        }
        let summary = render(Mode::Summary, Path::new("/x"), true, None);
        assert_eq!(
            summary.matches("usdt:/x:python:gil__").count(),
            1,
            "the summary attaches to one marker of the GIL"
        );
    }

    #[test]
    fn a_path_that_needs_quoting_gets_a_link() {
        let script = Script::write(
            Mode::Summary,
            Path::new("/opt/my python: 3/lib"),
            false,
            None,
        )
        .unwrap();
        let text = fs::read_to_string(&script.path).unwrap();
        assert!(!text.contains("/opt/my"), "{text}");
        let link = script.path.with_file_name("python");
        assert_eq!(
            fs::read_link(link).unwrap(),
            Path::new("/opt/my python: 3/lib")
        );
    }
}
