//! Where a marker's argument is found when the marker fires: the operands of a stapsdt note, such as `8@%rdi`, `-4@$7` or
//! `8@-16(%rbp)`.

use std::fmt;

/// One argument of a marker, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operand {
    /// Its width in bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether the value is to be read as signed.
    pub signed: bool,
    /// Where the value is.
    pub place: Place,
}

/// Where an argument's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a register, by the assembler's name without `%`.
    Register(String),
    /// It is this number.
    Constant(i64),
    /// On the stack: an offset from the stack or frame pointer.
    Stack {
        /// The register, `rsp` or `rbp` (`sp` or `x29` on ARM).
        base: String,
        /// Bytes from it.
        offset: i64,
    },
    /// Anything else: memory by a segment, a symbol or an index. Some or all tracers cannot read it.
    Unreadable(String),
}

impl Operand {
    /// Decodes one operand as the assembler writes it. Returns `None` for what is no operand at all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (size, place) = text.split_once('@')?;
        let signed = size.starts_with('-');
        let size: u8 = size.trim_start_matches('-').parse().ok()?;
        if !matches!(size, 1 | 2 | 4 | 8) || place.is_empty() {
            return None;
        }
        Some(Self {
            size,
            signed,
            place: Place::parse(place),
        })
    }

    /// Whether every tracer can read it: a plain register, a stack slot or a constant.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !matches!(self.place, Place::Unreadable(_))
    }
}

impl Place {
    fn parse(text: &str) -> Self {
        let unreadable = || Self::Unreadable(text.to_owned());
        if let Some(number) = text.strip_prefix('$') {
            return parse_number(number).map_or_else(unreadable, Self::Constant);
        }
        if let Some(number) = parse_number(text) {
            // AArch64 writes constants without a sigil.
            return Self::Constant(number);
        }
        if let Some((offset, base)) = split_stack_slot(text) {
            return Self::Stack { base, offset };
        }
        let name = text.strip_prefix('%').unwrap_or(text);
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        if is_name {
            Self::Register(name.to_owned())
        } else {
            unreadable()
        }
    }
}

/// Splits `-16(%rbp)` or `[sp, 16]` into offset and base. Other bases than the stack's registers are none of ours: the
/// memory behind them may be gone when a tracer reads it.
fn split_stack_slot(text: &str) -> Option<(i64, String)> {
    let (offset, base) = if let Some(inner) = text.strip_suffix(')') {
        inner.split_once('(')?
    } else {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        let (base, offset) = inner.split_once(',').unwrap_or((inner, "0"));
        (offset.trim().trim_start_matches('#'), base.trim())
    };
    let base = base.strip_prefix('%').unwrap_or(base);
    let offset = if offset.is_empty() {
        0
    } else {
        parse_number(offset)?
    };
    matches!(base, "rsp" | "rbp" | "sp" | "x29").then(|| (offset, base.to_owned()))
}

fn parse_number(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("-0x") {
        return i64::from_str_radix(digits, 16).ok()?.checked_neg();
    }
    text.parse().ok()
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.signed { 'i' } else { 'u' };
        write!(formatter, "{kind}{} ", u32::from(self.size) * 8)?;
        match &self.place {
            Place::Register(name) => write!(formatter, "in {name}"),
            Place::Constant(number) => write!(formatter, "= {number}"),
            Place::Stack { base, offset } => write!(formatter, "at {base}{offset:+}"),
            Place::Unreadable(text) => write!(formatter, "unreadable ({text})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tracers_can_read() {
        for (text, shown) in [
            ("8@%rdi", "u64 in rdi"),
            ("-4@%eax", "i32 in eax"),
            ("8@$5", "u64 = 5"),
            ("-4@$-7", "i32 = -7"),
            ("8@-16(%rbp)", "u64 at rbp-16"),
            ("8@(%rsp)", "u64 at rsp+0"),
            ("8@x19", "u64 in x19"),
            ("8@[sp, 16]", "u64 at sp+16"),
            ("4@3", "u32 = 3"),
        ] {
            let operand = Operand::parse(text).unwrap();
            assert_eq!(operand.to_string(), shown, "{text}");
            assert!(operand.is_readable(), "{text}");
        }
    }

    #[test]
    fn what_they_cannot() {
        for text in [
            "8@%fs:0",
            "8@%fs:-16(%rbp)",
            "8@counter(%rip)",
            "8@(%rdi,%rsi,8)",
            "8@8(%rdi)",
            "8@$name",
        ] {
            assert!(!Operand::parse(text).unwrap().is_readable(), "{text}");
        }
    }

    #[test]
    fn what_is_no_operand() {
        for text in ["", "8", "@%rdi", "3@%rdi", "8@", "x@%rdi", "999@%rdi"] {
            assert_eq!(Operand::parse(text), None, "{text}");
        }
    }
}
