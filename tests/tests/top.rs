//! `gilbuild top` on a real terminal: one that tmux makes, types into and reads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gil_tests::{gilbuild, not_run, prefix, run, text, why_no_tracing, workload};

/// What is waited for comes at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal of a tmux of its own.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(folder: &Path) -> Self {
        let terminal = Self {
            socket: folder.join("tmux").display().to_string(),
        };
        terminal.tmux(&["new-session", "-d", "-x", "100", "-y", "16", "sh"]);
        terminal.type_line("PS1='> '; clear; echo as it was");
        terminal.wait_for(|screen| screen.starts_with("as it was"));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-f", "/dev/null", "-S", &self.socket])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, is_there: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "the screen stays\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The page, the echo of what is typed and the cursor are there again.
    fn is_as_it_was(&self) {
        self.wait_for(|screen| screen.starts_with("as it was") && screen.trim_end().ends_with('>'));
        self.type_line("stty -a | grep -o ' [-]*icanon\\| [-]*echo '; echo done-it");
        let screen = self.wait_for(|screen| screen.contains("\ndone-it"));
        assert!(
            screen.contains("\n icanon") && screen.contains("\n echo"),
            "{screen}"
        );
        assert_eq!(self.tmux(&["display", "-p", "#{cursor_flag}"]).trim(), "1");
        self.type_line("clear; echo as it was");
        self.wait_for(|screen| screen.starts_with("as it was") && !screen.contains("done-it"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

struct Workload(Child);

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn top_shows_who_holds_and_gives_the_terminal_back() {
    let test = "top_shows_who_holds_and_gives_the_terminal_back";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "no CPython 3.13 with markers was built");
    };
    if Command::new("tmux").arg("-V").output().is_err() {
        return not_run(test, "tmux is not installed");
    }
    let child = Command::new(prefix.join("bin/python3.13"))
        .arg(workload("io_and_cpu.py"))
        .args(["--seconds", "600"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let workload = Workload(child);
    let folder = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(folder.path());
    let command = format!(
        "{} top --pid {} --interval 300ms",
        gilbuild().display(),
        workload.0.id()
    );

    // By a key, after it has been used.
    terminal.type_line(&command);
    let shows = |screen: &str| {
        let cpu = screen.lines().find(|line| line.starts_with("cpu "));
        cpu.is_some_and(|line| line.contains('█') && line.contains('%')) && screen.contains("io-1")
    };
    let screen = terminal.wait_for(shows);
    assert!(!screen.contains("as it was"), "{screen}");
    terminal.tmux(&["send-keys", "/"]);
    terminal.tmux(&["send-keys", "-l", "io"]);
    terminal.tmux(&["send-keys", "Enter"]);
    terminal.wait_for(|screen| !screen.contains("\ncpu ") && screen.contains("/ filter: io"));
    terminal.tmux(&["resize-window", "-x", "80", "-y", "12"]);
    // Drawn anew: the last column has its place.
    terminal.wait_for(|screen| screen.contains(" blame"));
    terminal.tmux(&["send-keys", "s"]);
    terminal.wait_for(|screen| screen.contains("waits ▾"));
    terminal.tmux(&["send-keys", "q"]);
    terminal.is_as_it_was();

    // By a signal.
    terminal.type_line(&format!(
        "sh -c 'echo $$ >{}/pid; exec {command}'",
        folder.path().display()
    ));
    terminal.wait_for(|screen| screen.contains("\ncpu "));
    let pid = fs_err::read_to_string(folder.path().join("pid")).unwrap();
    assert!(
        Command::new("kill")
            .arg(pid.trim())
            .status()
            .unwrap()
            .success()
    );
    terminal.is_as_it_was();

    // When the terminal is gone.
    let other = tempfile::tempdir().unwrap();
    let gone = Terminal::start(other.path());
    gone.type_line(&format!(
        "sh -c 'echo $$ >{}/pid; exec {command}'",
        other.path().display()
    ));
    gone.wait_for(|screen| screen.contains("\ncpu "));
    let pid = fs_err::read_to_string(other.path().join("pid")).unwrap();
    drop(gone);
    let begin = Instant::now();
    while Path::new("/proc").join(pid.trim()).exists() {
        assert!(begin.elapsed() < PATIENCE, "top stays without its terminal");
        thread::sleep(Duration::from_millis(50));
    }

    // When the process is gone.
    terminal.type_line(&command);
    terminal.wait_for(|screen| screen.contains("\ncpu "));
    drop(workload);
    terminal.wait_for(|screen| screen.contains("what was watched has ended"));
    terminal.is_as_it_was();
}

#[test]
fn top_says_why_it_cannot() {
    let output = run(&["top", "--pid", "2000000000"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("there is no process 2000000000"));
    let output = run(&["top"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
