//! Durations, shares and names as people read them.

use crate::summary::Thread;

/// A duration with three digits: `852 ns`, `5.10 ms`, `12.3 s`, `2 m 05 s`.
#[must_use]
pub fn duration(duration_ns: u64) -> String {
    /// From here on, minutes read better.
    const MINUTES_NS: u64 = 120_000_000_000;
    if duration_ns >= MINUTES_NS {
        let seconds = duration_ns / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        return if hours > 0 {
            format!("{hours} h {minutes:02} m")
        } else {
            format!("{minutes} m {:02} s", seconds % 60)
        };
    }
    let (unit_ns, unit) = match duration_ns {
        // A little below each power, so that nothing is rounded up to 1000.
        0..=999 => return format!("{duration_ns} ns"),
        1_000..999_500 => (1e3, "µs"),
        999_500..999_500_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", three_digits(to_float(duration_ns) / unit_ns))
}

/// A share of 1 in per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.01 {
        "under 0.01 %".to_owned()
    } else if percent < 1.0 {
        format!("{percent:.2} %")
    } else if percent < 99.95 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A duration in at most seven columns.
#[must_use]
pub fn duration_cell(duration_ns: u64) -> String {
    match duration_ns / 1_000_000_000 {
        0..100 => duration(duration_ns),
        seconds @ 100..1000 => format!("{seconds} s"),
        seconds if seconds < 60_000 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// A share of 1 in per cent, in at most six columns.
#[must_use]
pub fn percent_cell(share: f64) -> String {
    if share > 0.0 && share < 0.0001 {
        "<.01 %".to_owned()
    } else {
        percent(share)
    }
}

/// A ratio such as the mean number of waiting threads.
#[must_use]
pub fn ratio(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.1}")
    }
}

/// A count with a comma between thousands.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate per second.
#[must_use]
pub fn per_second(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}/s")
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and far below 2^64; a cast stops at the end anyway"
        )]
        let whole = rate.round() as u64;
        format!("{}/s", count(whole))
    }
}

/// A number with three digits.
fn three_digits(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "it is shown with three digits, a double has fifteen"
)]
pub(crate) fn to_float(value: u64) -> f64 {
    value as f64
}

/// A thread as it is called in a sentence.
#[must_use]
pub fn thread_label(thread: &Thread) -> String {
    if thread.is_several() {
        return "threads that are not told apart".to_owned();
    }
    match thread.name.as_deref() {
        Some(name) if !name.is_empty() => {
            format!("thread \"{}\" (tid {})", plain(name), thread.tid)
        }
        _ => format!("thread {}", thread.tid),
    }
}

/// A thread as it is called in a table.
#[must_use]
pub fn thread_name(thread: &Thread) -> String {
    match thread.name.as_deref() {
        Some(name) if !name.is_empty() => plain(name),
        _ => format!("tid {}", thread.tid),
    }
}

/// Text that is safe on a terminal: control characters and those that turn the direction of writing are shown as what
/// they are. The name of a thread comes from the traced program.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Unicode's format characters that change how what follows is shown, or are not shown at all.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (duration_ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (5_104_000, "5.10 ms"),
            (512_300_000, "512 ms"),
            (12_345_000_000, "12.3 s"),
            (119_900_000_000, "120 s"),
            (125_000_000_000, "2 m 05 s"),
            (7_384_000_000_000, "2 h 03 m"),
        ] {
            assert_eq!(duration(duration_ns), text);
        }
    }

    #[test]
    fn shares_and_counts() {
        assert_eq!(percent(0.998), "99.8 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.00001), "under 0.01 %");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(per_second(1234.5), "1,235/s");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[31mb\u{202e}c\n"),
            "a\\u{1b}[31mb\\u{202e}c\\u{a}"
        );
    }
}
