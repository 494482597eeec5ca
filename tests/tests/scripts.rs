//! The SystemTap and bpftrace scripts against the marker catalogue: names of markers, numbers of arguments, and what the scripts take
//! them for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fs_err as fs;
use gil_probes::catalogue::{self, Marker};
use gil_tests::{gilbuild, not_run, prefix, run, text, why_no_tracing};

/// What scripts call an argument, where they cannot use its own name: in both languages `tid` is the tracer's view of the thread.
const NATIVE_ID: &str = "native_id";
/// Likewise: `name` is what scripts keep the names of threads in.
const THREAD_NAME: &str = "thread_name";
/// Likewise: `function` is a word of SystemTap's language.
const FUNC: &str = "func";

fn scripts(folder: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    scripts.sort();
    scripts
}

/// The text between `open` and `close`, and what follows it.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close)
}

/// Words of a text: names, and names with `$` or `@` before them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_$@".contains(letter)))
        .filter(|word| !word.is_empty())
}

/// A probe of the tapset: `gil.drop`, its marker, and its variables in the order of the arguments.
struct Alias {
    name: String,
    marker: &'static Marker,
    variables: Vec<String>,
}

fn tapset() -> Vec<Alias> {
    let (_, text) = scripts("systemtap/tapset", "stp").pop().unwrap();
    let mut aliases = Vec::new();
    let mut rest = text.as_str();
    while let Some((name, after)) = between(rest, "\nprobe ", " = process(@1).provider(\"") {
        let (provider, after) = after.split_once("\").mark(\"").unwrap();
        let (mark, after) = after.split_once("\")\n{").unwrap();
        let (body, after) = after.split_once("\n}").unwrap();
        assert_eq!(provider, catalogue::PROVIDER, "{name}");
        let marker =
            catalogue::find(mark).unwrap_or_else(|| panic!("{name}: there is no marker {mark}"));
        let variables = body
            .lines()
            .filter_map(|line| {
                let (variable, value) = line.trim().split_once(" = ")?;
                // Appended later: `@defined($arg7) ? $arg7 : 0`.
                let value = between(value, "@defined(", ")").map_or(value, |(value, _)| value);
                Some((variable, value.strip_prefix("$arg")?))
            })
            .enumerate()
            .map(|(index, (variable, number))| {
                assert_eq!(number, (index + 1).to_string(), "{name}: {variable}");
                variable.to_owned()
            })
            .collect();
        aliases.push(Alias {
            name: name.to_owned(),
            marker,
            variables,
        });
        rest = after;
    }
    aliases
}

#[test]
fn the_tapset_names_every_marker_and_argument_of_the_catalogue() {
    let aliases = tapset();
    let named: BTreeSet<_> = aliases.iter().map(|alias| alias.marker.name).collect();
    let all: BTreeSet<_> = catalogue::MARKERS
        .iter()
        .chain(&catalogue::FUNCTIONS)
        .chain(&catalogue::NAMES)
        .map(|marker| marker.name)
        .collect();
    assert_eq!(named, all);
    for alias in aliases {
        let expected: Vec<_> = alias
            .marker
            .arguments
            .iter()
            .map(|&argument| match argument {
                "tid" => NATIVE_ID,
                "name" => THREAD_NAME,
                "function" => FUNC,
                _ => argument,
            })
            .collect();
        assert_eq!(alias.variables, expected, "{}", alias.name);
    }
}

#[test]
fn systemtap_scripts_use_what_their_probe_has() {
    let aliases = tapset();
    let every_variable: BTreeSet<_> = aliases
        .iter()
        .flat_map(|alias| &alias.variables)
        .map(String::as_str)
        .collect();
    let scripts = scripts("systemtap", "stp");
    assert_eq!(scripts.len(), 5);
    for (path, text) in scripts {
        let code = without_comments(&text);
        for raw in [".mark(", "$arg", "process("] {
            assert!(
                !code.contains(raw),
                "{}: {raw} belongs into the tapset",
                path.display()
            );
        }
        let mut probes = 0;
        let mut rest = code.as_str();
        while let Some((name, after)) = between(rest, "\nprobe gil.", "\n{") {
            let (body, after) = after.split_once("\n}").unwrap();
            rest = after;
            if name == "target_ended" {
                continue;
            }
            probes += 1;
            let name = format!("gil.{name}");
            let alias = aliases.iter().find(|alias| alias.name == name);
            let alias =
                alias.unwrap_or_else(|| panic!("{}: the tapset has no {name}", path.display()));
            for word in words(body).filter(|word| every_variable.contains(word)) {
                assert!(
                    alias.variables.iter().any(|variable| variable == word),
                    "{}: {name} has no {word}",
                    path.display()
                );
            }
        }
        assert!(probes > 0, "{} attaches to nothing", path.display());
    }
}

#[test]
fn bpftrace_scripts_take_each_argument_for_what_it_is() {
    let scripts = scripts("bpftrace", "bt");
    assert_eq!(scripts.len(), 6);
    for (path, text) in scripts {
        // What the comments have said so far: argument 4 is hold_ns.
        let mut said: Vec<Option<String>> = vec![None; 8];
        let mut probes = 0;
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("\nusdt:*:") {
            note_names(before, &mut said);
            let (name, after) = after.split_once('\n').unwrap();
            let (body, after) = after.split_once("\n}").unwrap();
            rest = after;
            probes += 1;
            let marker = name
                .strip_prefix(catalogue::PROVIDER)
                .and_then(|name| name.strip_prefix(':'));
            let marker = marker.and_then(catalogue::find);
            let marker =
                marker.unwrap_or_else(|| panic!("{}: there is no marker {name}", path.display()));
            let used =
                words(body).filter_map(|word| word.strip_prefix("arg")?.parse::<usize>().ok());
            for argument in used {
                let place = format!("{}: {name}: arg{argument}", path.display());
                let meaning = marker.arguments.get(argument);
                let meaning = meaning.unwrap_or_else(|| {
                    panic!("{place}: it has {} arguments", marker.arguments.len())
                });
                assert_eq!(
                    said[argument].as_deref(),
                    Some(*meaning),
                    "{place}: what its comment says"
                );
            }
        }
        assert!(probes > 0, "{} attaches to nothing", path.display());
    }
}

/// Reads `hold_ns = arg4` and `holder ident = arg3` out of comments.
fn note_names(text: &str, said: &mut [Option<String>]) {
    for comment in text
        .split("/*")
        .skip(1)
        .filter_map(|rest| rest.split("*/").next())
    {
        let words: Vec<_> = comment.split_whitespace().collect();
        for (index, word) in words.iter().enumerate() {
            let number = word.trim_end_matches([',', '.', ';']).strip_prefix("arg");
            let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else {
                continue;
            };
            if index < 2 || words[index - 1] != "=" {
                continue;
            }
            let mut name = words[index - 2];
            if name == "ident" && index >= 3 && words[index - 3] == "holder" {
                name = "holder";
            }
            said[number] = Some(name.to_owned());
        }
    }
}

fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

/// Kernel headers that SystemTap can compile against, and their release.
fn headers() -> Option<(PathBuf, String)> {
    let candidates = fs::read_dir("/lib/modules").into_iter().flatten();
    candidates
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join("build/.config").exists())
        .find_map(|folder| {
            let release = folder.file_name()?.to_str()?.to_owned();
            Some((folder.join("build"), release))
        })
}

/// The file of an interpreter that `tests/run` has built, in which the markers are.
fn marked_file() -> Option<PathBuf> {
    let prefix = prefix("3.13", "nop")?;
    let library = prefix.join("lib/libpython3.13.so.1.0");
    Some(if library.exists() {
        library
    } else {
        prefix.join("bin/python3")
    })
}

/// Compiles a script as far as SystemTap's pass 4, a kernel module, and returns all that stap says.
fn compile(script: &Path, file: &Path) -> Result<Output, String> {
    if Command::new("stap").arg("--version").output().is_err() {
        return Err("stap is not installed".to_owned());
    }
    let (headers, release) =
        headers().ok_or("there are no kernel headers in /lib/modules/*/build")?;
    let systemtap = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemtap");
    let folder = tempfile::tempdir().unwrap();
    let runtime = Command::new(systemtap.join("runtime-for"))
        .arg(headers)
        .arg(folder.path().join("runtime"))
        .output()
        .unwrap();
    assert!(runtime.status.success(), "{}", text(&runtime));
    let stap = Command::new("stap")
        .arg("-R")
        .arg(String::from_utf8(runtime.stdout).unwrap().trim())
        .args(["-r", &release, "-p4", "-m", "gil_test", "-I"])
        .arg(systemtap.join("tapset"))
        .arg(script)
        .arg(file)
        .current_dir(folder.path())
        .output();
    Ok(stap.unwrap())
}

#[test]
fn stap_compiles_every_script_where_headers_are_there() {
    let test = "stap_compiles_every_script_where_headers_are_there";
    let Some(file) = marked_file() else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    for (path, _) in scripts("systemtap", "stp") {
        match compile(&path, &file) {
            Ok(output) => assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                text(&output)
            ),
            Err(reason) => return not_run(test, &reason),
        }
    }
}

#[test]
fn a_file_without_markers_is_refused_by_name() {
    let test = "a_file_without_markers_is_refused_by_name";
    let (script, _) = scripts("systemtap", "stp").pop().unwrap();
    match compile(&script, Path::new("/bin/sh")) {
        Ok(output) => {
            assert!(!output.status.success());
            assert!(text(&output).contains("mark(\"gil__"), "{}", text(&output));
        }
        Err(reason) => not_run(test, &reason),
    }
}

#[test]
fn the_command_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("scripts");
    let export = export.to_str().unwrap();
    let own_pid = std::process::id().to_string();
    assert!(run(&["script", "export", export]).status.success());
    for (arguments, status, words) in [
        (
            &["script", "show", "gil-sumary.bt"][..],
            2,
            "gil-summary.bt",
        ),
        (
            &["script", "run", "gil-top.bt", "--pid", "2000000000"],
            1,
            "no process 2000000000",
        ),
        (
            &["script", "run", "gil-top.stp", "--pid", &own_pid],
            1,
            "does not run Python",
        ),
        (
            &["script", "run", "gil-slow.bt", "--pid", "1", "--", "$(id)"],
            2,
            "no argument for a script",
        ),
        (
            &["script", "run", "gil-top.bt", "--elf", "/bin/sh"],
            1,
            "no GIL markers",
        ),
        (
            &["script", "run", "gil-top.bt"],
            2,
            "--pid <PID>|--elf <FILE>",
        ),
        (&["script", "export", export], 1, "is not empty"),
    ] {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {}",
            text(&output)
        );
        assert!(
            text(&output).contains(words),
            "{arguments:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn an_export_runs_without_gilbuild() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        run(&["script", "export", folder.path().to_str().unwrap()])
            .status
            .success()
    );
    for (tool, extension) in [("bpftrace", "bt"), ("systemtap", "stp")] {
        for (path, script) in scripts(tool, extension) {
            let exported = folder.path().join(tool).join(path.file_name().unwrap());
            assert_eq!(fs::read_to_string(exported).unwrap(), script);
        }
    }
    assert!(folder.path().join("systemtap/tapset/gil.stp").exists());
}

#[test]
fn every_process_that_runs_a_file_is_watched() {
    let test = "every_process_that_runs_a_file_is_watched";
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    // A name that bpftrace would not take as it is.
    let file = folder.path().join("my python: 3.13");
    let library = prefix.join("lib/libpython3.13.so.1.0");
    std::os::unix::fs::symlink(library, &file).unwrap();
    let printed = folder.path().join("printed");
    let mut script = Command::new("env")
        .arg("--default-signal=INT")
        .arg(gilbuild())
        .args(["script", "run", "gil-summary.bt", "--elf"])
        .arg(&file)
        .stdout(fs::File::create(&printed).unwrap().into_file())
        .process_group(0)
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&printed).unwrap().contains("Watching") {
        assert!(script.try_wait().unwrap().is_none(), "it ended");
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Two processes that start later.
    let program = "
import threading, time
thread = threading.Thread(target=lambda: [time.sleep(0.001) for _ in range(100)])
thread.start()
thread.join()
print(threading.main_thread().native_id)";
    let ids = [(); 2].map(|()| {
        let output = Command::new(prefix.join("bin/python3"))
            .args(["-c", program])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    });
    let group = format!("-{}", script.id());
    let killed = Command::new("kill").args(["-INT", "--", &group]).status();
    assert!(killed.unwrap().success());
    assert!(script.wait().unwrap().success());
    let printed = fs::read_to_string(&printed).unwrap();
    for id in ids {
        let line = format!("@hold_count[python3, {id}]: ");
        assert!(printed.contains(&line), "{line}{printed}");
    }
}
