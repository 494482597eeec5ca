//! What libbpf says when something fails, which is more than its error number does.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::PrintLevel;

use crate::native::NativeError;

/// Of its words so much is kept: the verifier is talkative.
const LONGEST: usize = 64 * 1024;

static SAID: Mutex<String> = Mutex::new(String::new());

/// Calls libbpf; if that fails, its last words become the reason.
pub(super) fn explain<T>(call: impl FnOnce() -> libbpf_rs::Result<T>) -> Result<T, NativeError> {
    libbpf_rs::set_print(Some((PrintLevel::Warn, listen)));
    said().clear();
    call().map_err(|error| {
        let said = said();
        let last = said.lines().rev().find(|line| line.starts_with("libbpf:"));
        let mut message = error.to_string();
        if let Some(line) = last {
            message.push_str(" (");
            message.push_str(line.trim());
            message.push(')');
        }
        NativeError::Libbpf { message }
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that libbpf-rs calls"
)]
fn listen(_level: PrintLevel, line: String) {
    let mut said = said();
    if said.len() < LONGEST {
        said.push_str(&line);
    }
}

fn said() -> std::sync::MutexGuard<'static, String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}
