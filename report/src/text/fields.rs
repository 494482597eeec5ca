//! The fields of a line: words, numbers, and the rest of it.

use crate::interval::State;

/// Cuts a line into its fields.
pub(super) struct Fields<'l>(pub(super) &'l [u8]);

impl<'l> Fields<'l> {
    #[inline]
    pub(super) fn word(&mut self) -> Option<&'l [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self
            .0
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(self.0.len());
        let word = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(word)
    }

    #[inline]
    pub(super) fn decimal(&mut self) -> Option<u64> {
        let (mut value, length) = leading_digits(self.0);
        if length == 0 || self.0.get(length).is_some_and(|&byte| byte != b' ') {
            return None;
        }
        if length > 19 {
            value = parse_long(&self.0[..length])?;
        }
        self.0 = self.0.get(length + 1..).unwrap_or_default();
        Some(value)
    }

    #[inline]
    pub(super) fn id(&mut self) -> Option<u32> {
        self.decimal().and_then(|value| u32::try_from(value).ok())
    }

    #[inline]
    pub(super) fn hexadecimal(&mut self) -> Option<u64> {
        let digits = self.0.strip_prefix(b"0x").unwrap_or(self.0);
        let mut value = 0;
        let mut length = 0;
        while let Some(&byte) = digits.get(length)
            && byte != b' '
        {
            let digit = HEXADECIMAL[usize::from(byte)];
            if digit > 15 {
                return None;
            }
            value = value << 4 | u64::from(digit);
            length += 1;
        }
        if !(1..=16).contains(&length) {
            return None;
        }
        self.0 = digits.get(length + 1..).unwrap_or_default();
        Some(value)
    }

    /// The id of a trace: 32 hexadecimal digits.
    pub(super) fn trace(&mut self) -> Option<u128> {
        parse_trace(str::from_utf8(self.word()?).ok()?)
    }

    /// `1` or `0`.
    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.word()? {
            b"0" => Some(false),
            b"1" => Some(true),
            _ => None,
        }
    }

    pub(super) fn state(&mut self) -> Option<State> {
        State::of(self.word()?)
    }

    /// `DURATION:COUNT` up to the end of the line.
    pub(super) fn buckets(&mut self) -> Option<Vec<(u64, u64)>> {
        let mut buckets = Vec::new();
        while let Some(word) = self.word() {
            let (duration, count) = str::from_utf8(word).ok()?.split_once(':')?;
            buckets.push((duration.parse().ok()?, count.parse().ok()?));
        }
        Some(buckets)
    }

    pub(super) fn rest(self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }
}

/// The id of a trace as text: 32 hexadecimal digits.
fn parse_trace(digits: &str) -> Option<u128> {
    /// Hexadecimal digits of 128 bits.
    const DIGITS: usize = 32;
    let is_whole = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(digits, 16).ok().filter(|_| is_whole)
}

/// What each byte is as a hexadecimal digit; 16 is none.
const HEXADECIMAL: [u8; 256] = {
    let mut digits = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

/// A number that may not fit into 64 bits.
#[cold]
fn parse_long(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The number that the text begins with, and of how many digits it is. The number wraps when it is of more than 19.
///
/// Eight digits at a time: four fifths of a trace are decimal numbers.
#[inline]
fn leading_digits(text: &[u8]) -> (u64, usize) {
    const POWERS: [u64; 9] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
    ];
    /// Eight times the same byte.
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let mut value: u64 = 0;
    let mut length = 0;
    while let Some(chunk) = text[length..].first_chunk() {
        // Digits become 0 to 9; of the first byte that is none, the upper half is not 0 now, or once 6 is added.
        let digits = u64::from_le_bytes(*chunk) ^ each(b'0');
        let others = (digits | digits.wrapping_add(each(6))) & each(0xf0);
        let count = others.trailing_zeros() / 8;
        if count == 0 {
            return (value, length);
        }
        // Zeros in front of them, then two, four, eight digits become one number.
        let mut number = digits << (64 - 8 * count);
        number = number.wrapping_mul(10).wrapping_add(number >> 8) & 0x00ff_00ff_00ff_00ff;
        number = number.wrapping_mul(100).wrapping_add(number >> 16) & 0x0000_ffff_0000_ffff;
        number = number.wrapping_mul(10_000).wrapping_add(number >> 32) & 0xffff_ffff;
        value = value
            .wrapping_mul(POWERS[count as usize])
            .wrapping_add(number);
        length += count as usize;
        if count < 8 {
            return (value, length);
        }
    }
    while let Some(digit) = text.get(length).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        length += 1;
    }
    (value, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_at_a_space_or_with_the_line() {
        let longest = u64::MAX.to_string();
        for number in [
            "0",
            "7",
            "1234567",
            "12345678",
            "123456789",
            "1234567890123456",
            &longest,
        ] {
            for rest in ["", " ", " 1", " drop 12 34", " 123456789012"] {
                let line = format!("{number}{rest}");
                let mut fields = Fields(line.as_bytes());
                assert_eq!(fields.decimal(), number.parse().ok(), "{line}");
                assert_eq!(fields.0, rest.strip_prefix(' ').unwrap_or("").as_bytes());
            }
            for wrong in ["x", ":", "/", "\u{b0}", ",5 6 7 8 9 0", "-1", "\t"] {
                let line = format!("{number}{wrong}");
                assert_eq!(Fields(line.as_bytes()).decimal(), None, "{line}");
            }
        }
        for wrong in ["", " ", " 1", "x", "18446744073709551616", "-12345678"] {
            assert_eq!(Fields(wrong.as_bytes()).decimal(), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_hexadecimal() {
        for (text, value) in [
            ("0", Some(0)),
            ("7f8a5c0012a8 1", Some(0x7f8a_5c00_12a8)),
            ("0x7F8A 1", Some(0x7f8a)),
            ("ffffffffffffffff", Some(u64::MAX)),
            ("0ffffffffffffffff", None),
            ("0x", None),
            ("", None),
            (" 1", None),
            ("12g4", None),
        ] {
            assert_eq!(Fields(text.as_bytes()).hexadecimal(), value, "{text}");
        }
    }
}
