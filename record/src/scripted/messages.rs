//! A tracing tool's own error messages, shortened to what helps.

/// Parts of lines that bpftrace and SystemTap print without harm, on machines on which everything works.
const HARMLESS: [&str; 5] = [
    "couldn't set RLIMIT_MEMLOCK",
    "/sys/kernel/tracing/",
    "failed to detach probe",
    "Addrspace mismatch",
    "symbol table missing",
];
/// No more lines than this make one message.
const MOST_LINES: usize = 3;

/// The lines that say what went wrong, joined into one line.
pub(crate) fn shorten(stderr: &str) -> String {
    let telling =
        |line: &&str| !line.is_empty() && !HARMLESS.iter().any(|part| line.contains(part));
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(telling).collect();
    let errors: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.contains("ERROR") || line.contains("rror:"))
        .collect();
    let chosen = if errors.is_empty() { lines } else { errors };
    if chosen.is_empty() {
        return "it gave no reason".to_owned();
    }
    let shown: Vec<&str> = chosen
        .iter()
        .take(MOST_LINES)
        .map(|line| {
            line.split_once("ERROR: ")
                .map_or(*line, |(_, message)| message)
        })
        .collect();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_the_reason_is_left() {
        let stderr = "ERROR: Unknown error -1: couldn't set RLIMIT_MEMLOCK for bpftrace. If your program …\n\
                      /tmp/x/script.bt:3:1-2: ERROR: No probes to attach\n\n";
        assert_eq!(shorten(stderr), "No probes to attach");
        assert_eq!(shorten("something odd\n"), "something odd");
        assert_eq!(shorten(""), "it gave no reason");
    }
}
