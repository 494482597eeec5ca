//! What the markers tell of threads' names, and of the Python code in which a thread gives the GIL up and waits for it: held against what
//! the threads of a program know of themselves, with a tracer that is not ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gil_probes::catalogue::TEXT_BYTES;
use gil_tests::{is_free_threaded, library, not_run, prefixes, series, why_no_tracing, workload};
use serde_json::Value;

/// Bytes of a string that bpftrace keeps, without the NUL at its end.
const BPFTRACE_BYTES: usize = 63;

/// A thread, a line, a function and a file.
type Place = (u64, u64, Vec<u8>, Vec<u8>);
/// How often a marker fired there.
type Places = BTreeMap<Place, u64>;

fn script(library: &Path) -> String {
    let at = format!("usdt:{}:python", library.display());
    format!(
        "{at}:gil__functions {{ @functions = count(); }}
         {at}:thread__name {{ printf(\"%d %s\\n\", arg1, str(arg2)); }}
         {at}:gil__location {{ @drops[arg1, arg4, str(arg3), str(arg2)] = count(); }}
         {at}:gil__claim /arg3 != 0/ {{ @claims[arg1, arg5, str(arg4), str(arg3)] = count(); }}"
    )
}

/// What a tracer saw.
#[derive(Default)]
struct Seen {
    /// By thread, each name that it was told, in order, without those that were told again.
    names: BTreeMap<u64, Vec<Vec<u8>>>,
    functions: u64,
    drops: Places,
    claims: Places,
}

impl Seen {
    fn read(output: &[u8]) -> Self {
        let mut seen = Self::default();
        for line in output.split(|byte| *byte == b'\n') {
            if let Some(rest) = line.strip_prefix(b"@functions: ") {
                seen.functions = number(rest);
            } else if let Some(rest) = line.strip_prefix(b"@drops[") {
                seen.drops.extend(place(rest));
            } else if let Some(rest) = line.strip_prefix(b"@claims[") {
                seen.claims.extend(place(rest));
            } else if let Some((tid, name)) = split(line, b" ")
                && tid.first().is_some_and(u8::is_ascii_digit)
            {
                let names = seen.names.entry(number(tid)).or_default();
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
            }
        }
        seen
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let position = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..position], &bytes[position + at.len()..]))
}

fn number(digits: &[u8]) -> u64 {
    String::from_utf8_lossy(digits).trim().parse().unwrap()
}

/// `TID, LINE, FUNCTION, FILE]: COUNT`.
fn place(bytes: &[u8]) -> Option<(Place, u64)> {
    let (tid, rest) = split(bytes, b", ")?;
    let (line, rest) = split(rest, b", ")?;
    let (function, rest) = split(rest, b", ")?;
    let (file, count) = split(rest, b"]: ")?;
    let key = (
        number(tid),
        number(line),
        function.to_owned(),
        file.to_owned(),
    );
    Some((key, number(count)))
}

/// A lone surrogate becomes U+FFFD. (It cannot be in a Rust string: the parser is given what comes of it.)
fn truth(line: &str) -> Value {
    let mut text = line.to_owned();
    for surrogate in ["\\ud800", "\\udcff"] {
        text = text.replace(surrogate, "\\ufffd");
    }
    serde_json::from_str(&text).unwrap()
}

/// The beginning of a text, cut between two characters.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=text.len().min(bytes)).rfind(|&at| text.is_char_boundary(at));
    &text[..end.unwrap()]
}

fn end(text: &str, bytes: usize) -> &str {
    let begin = text.len().saturating_sub(bytes);
    let begin = (begin..=text.len()).find(|&at| text.is_char_boundary(at));
    &text[begin.unwrap()..]
}

/// As bpftrace keeps it, which does not know of characters.
fn kept(text: &str) -> Vec<u8> {
    text.as_bytes()[..text.len().min(BPFTRACE_BYTES)].to_owned()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn observe(prefix: &Path) -> (Seen, Value) {
    let mut program = Command::new(prefix.join("bin/python3"));
    program.arg("-B").arg(workload("who_and_where.py"));
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Running(program.spawn().unwrap());
    let mut stdout = BufReader::new(program.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let pid = serde_json::from_str::<Value>(&line).unwrap()["pid"].to_string();

    let mut tracer = Command::new("bpftrace");
    tracer.args(["-p", &pid, "-e", &script(&library(prefix))]);
    let tracer = tracer.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tracer = Running(tracer.spawn().unwrap());
    let mut from_tracer = BufReader::new(tracer.0.stdout.take().unwrap());
    line.clear();
    from_tracer.read_line(&mut line).unwrap();
    assert!(line.starts_with("Attaching"), "{line}");
    // It says so before it does.
    std::thread::sleep(Duration::from_secs(2));
    let mut stdin = program.0.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();

    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert!(program.0.wait().unwrap().success());
    let mut seen = Vec::new();
    from_tracer.read_to_end(&mut seen).unwrap();
    (Seen::read(&seen), truth(&said))
}

#[test]
fn threads_and_functions_are_called_what_they_call_themselves() {
    let test = "threads_and_functions_are_called_what_they_call_themselves";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let has_markers = |prefix: &&PathBuf| !prefix.to_string_lossy().contains("-gil-none-");
    let prefixes = prefixes();
    if prefixes.is_empty() {
        not_run(test, "no interpreter with markers was built");
    }
    for prefix in prefixes.iter().filter(has_markers) {
        let (seen, truth) = observe(prefix);
        for thread in truth["threads"].as_array().unwrap() {
            let tid = thread["native_id"].as_u64().unwrap();
            let names = thread["names"].as_array().unwrap();
            let names: Vec<_> = names
                .iter()
                .map(|name| kept(beginning(name.as_str().unwrap(), TEXT_BYTES)))
                .collect();
            assert_eq!(seen.names.get(&tid), Some(&names), "{}", prefix.display());
            check_name_of_system(prefix, thread);
            if !is_free_threaded(prefix) {
                check_places(prefix, &seen, tid, &thread["slept"]);
            }
        }
        assert_eq!(seen.names.len(), truth["threads"].as_array().unwrap().len());
        if !is_free_threaded(prefix) {
            assert_eq!(seen.functions, 1, "{}", prefix.display());
        }
    }
}

/// Before 3.14 CPython gives no names to the system; what 3.14 gives is its own.
fn check_name_of_system(prefix: &Path, thread: &Value) {
    let minor: u32 = series(prefix)
        .trim_end_matches('t')
        .trim_start_matches("3.")
        .parse()
        .unwrap();
    if let Some(comm) = thread["comm"].as_str()
        && minor < 14
    {
        let name = thread["names"][0].as_str().unwrap();
        assert_eq!(comm, beginning(name, 15), "{}", prefix.display());
    }
}

/// Each time a thread fell asleep it dropped the GIL where it was, and claimed it there when it woke up.
fn check_places(prefix: &Path, seen: &Seen, tid: u64, slept: &Value) {
    for place in slept.as_array().unwrap() {
        let key = (
            tid,
            place["line"].as_u64().unwrap(),
            kept(beginning(place["function"].as_str().unwrap(), TEXT_BYTES)),
            kept(end(place["file"].as_str().unwrap(), TEXT_BYTES)),
        );
        let count = place["count"].as_u64().unwrap();
        let prefix = prefix.display();
        for (what, places) in [("drops", &seen.drops), ("claims", &seen.claims)] {
            let found = places.get(&key).copied().unwrap_or(0);
            // A thread may be forced to drop it there, too; and the hold at which tracing began, it does not know.
            assert!(
                found + 1 >= count && found < count + count / 4 + 10,
                "{prefix}: {what} at {place}: {found}; there were {places:#?}"
            );
        }
    }
}
