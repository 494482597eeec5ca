//! What cannot be recorded is refused in one line, and nothing is left behind.

use std::process::{Child, Command, Stdio};

use gil_record::{Options, RecordError, Silent, Target, record};

use crate::machine;

struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_does_not_exist() {
    // The kernel's largest number for a process is far below.
    let error = record(
        &Target::Process(2_000_000_000),
        &Options::default(),
        &mut Silent,
    )
    .unwrap_err();
    assert!(matches!(error, RecordError::NoSuchProcess { .. }));
    assert!(!error.is_about_this_machine());
    assert!(
        error
            .to_string()
            .starts_with("there is no process 2000000000"),
        "{error}"
    );
}

#[test]
fn a_process_that_is_not_python() {
    let Some(_turn) = machine::tracing("a_process_that_is_not_python") else {
        return;
    };
    let sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let options = Options {
        output: Some(output.clone()),
        ..Options::default()
    };
    let error = record(&Target::Process(sleeper.0.id()), &options, &mut Silent).unwrap_err();
    assert!(matches!(error, RecordError::NotPython { .. }), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_python_without_markers() {
    let test = "a_python_without_markers";
    let Some(_turn) = machine::tracing(test) else {
        return;
    };
    let mut command = Command::new("/usr/bin/python3");
    // It says when it is there: until then the process is still becoming Python.
    command
        .args(["-c", "print(flush=True); input()"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(child) = command.spawn() else {
        return machine::not_run(test, "there is no /usr/bin/python3");
    };
    let mut sleeper = Sleeper(child);
    std::io::Read::read_exact(sleeper.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let error = record(
        &Target::Process(sleeper.0.id()),
        &Options::default(),
        &mut Silent,
    )
    .unwrap_err();
    assert!(
        matches!(error, RecordError::WithoutMarkers { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("gilbuild build"), "{error}");
}

#[test]
fn a_command_that_is_not_there_and_one_that_ends_at_once() {
    let Some(_turn) = machine::tracing("a_command_that_is_not_there_and_one_that_ends_at_once")
    else {
        return;
    };
    let run = |command: &str| {
        record(
            &Target::Command(vec![command.into()]),
            &Options::default(),
            &mut Silent,
        )
    };
    assert!(matches!(
        run("/no/such/program").unwrap_err(),
        RecordError::Start { .. }
    ));
    assert!(matches!(
        run("true").unwrap_err(),
        RecordError::CommandEnded { .. }
    ));
}
