//! The only place that prints. Results go to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const STEP: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// The bars that are on the terminal: several, where several things are done at once.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes one line of a command's result to stdout.
///
/// # Errors
/// When stdout cannot be written to.
pub fn result(line: &str) -> io::Result<()> {
    writeln!(anstream::stdout().lock(), "{line}")
}

/// Whether results may carry colours: stdout is a terminal that shows them, and the user does not object.
#[must_use]
pub fn result_has_color() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Says what is being done now.
pub fn step(verb: &str, what: &str) {
    say(STEP, &format!("{verb:>10}"), what);
}

/// Says something that is worth knowing and stops nothing.
pub fn warning(text: &str) {
    say(WARNING, "warning:", text);
}

/// Says why the command failed.
pub fn error(text: &str) {
    say(ERROR, "error:", text);
}

fn say(style: Style, head: &str, text: &str) {
    // Where even stderr is gone there is nobody left to tell.
    BARS.suspend(|| {
        let _ = writeln!(anstream::stderr().lock(), "{style}{head}{style:#} {text}");
    });
}

/// A step that takes long: a bar on a terminal, plain lines elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: String,
}

impl Progress {
    /// Begins a step whose end is not known yet.
    #[must_use]
    pub fn start(verb: &str, what: &str) -> Self {
        if !io::stderr().is_terminal() {
            step(verb, what);
            return Self {
                bar: None,
                last_line: what.to_owned(),
            };
        }
        let bar = BARS.add(ProgressBar::new_spinner());
        bar.set_prefix(format!("{verb:>10}"));
        bar.set_message(what.to_owned());
        bar.set_style(style("{prefix:.green.bold} {spinner} {elapsed} {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            bar: Some(bar),
            last_line: String::new(),
        }
    }

    /// Says how far the step is, `done` of `total` of `unit`s.
    pub fn position(&self, done: u64, total: u64, unit: Unit) {
        let Some(bar) = &self.bar else { return };
        if bar.length().is_none() {
            let figures = match unit {
                Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
                Unit::Files => "{pos}/{len} {elapsed}",
            };
            bar.set_style(style(&format!(
                "{{prefix:.green.bold}} [{{bar:24}}] {figures} {{wide_msg}}"
            )));
        }
        bar.set_length(total.max(done));
        bar.set_position(done);
    }

    /// Names the part of the step that is under way. Elsewhere than on a terminal, only a part that is not
    /// `fleeting` is worth a line.
    pub fn part(&mut self, what: &str, fleeting: bool) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if !fleeting && self.last_line != what {
            step("", what);
            what.clone_into(&mut self.last_line);
        }
    }

    /// Ends the step and, on a terminal, removes its bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a step counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Bytes of a download.
    Bytes,
    /// Files of a build.
    Files,
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours and constant; one that does not parse would only look plainer.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
