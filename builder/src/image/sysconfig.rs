//! What an interpreter's build wrote down about itself: the `_sysconfigdata` module, read without running it.
//!
//! The module is one dictionary literal as `pprint` writes it: keys are strings; values are numbers or strings, long strings in
//! several parts on lines of their own.

use std::collections::BTreeMap;

/// The variables that are strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sysconfig(BTreeMap<String, String>);

impl Sysconfig {
    /// Reads the text of the module. What is no dictionary of strings and numbers is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut variables = BTreeMap::new();
        let mut rest = text.split_once('{').map_or("", |(_, rest)| rest);
        let mut key: Option<String> = None;
        let mut value: Option<String> = None;
        while let Some(first) = rest.chars().next() {
            if first == '\'' || first == '"' {
                let Some((string, behind)) = literal(rest) else {
                    break;
                };
                rest = behind;
                match (&key, &mut value) {
                    (None, _) => key = Some(string),
                    // Literals beside each other are one.
                    (Some(_), Some(value)) => value.push_str(&string),
                    (Some(_), None) => value = Some(string),
                }
                continue;
            }
            if matches!(first, ',' | '}')
                && let (Some(key), Some(value)) = (key.take(), value.take())
            {
                variables.insert(key, value);
            }
            rest = &rest[first.len_utf8()..];
        }
        Self(variables)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The arguments that `configure` was given.
    pub(super) fn configure_arguments(&self) -> Option<Vec<String>> {
        Some(words(self.get("CONFIG_ARGS")?))
    }
}

/// The string literal that `text` begins with, and what is behind it.
fn literal(text: &str) -> Option<(String, &str)> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next()?;
    let mut string = String::new();
    while let Some((index, character)) = characters.next() {
        if character == quote {
            return Some((string, &text[index + character.len_utf8()..]));
        }
        if character != '\\' {
            string.push(character);
            continue;
        }
        match characters.next()?.1 {
            'n' => string.push('\n'),
            't' => string.push('\t'),
            other => string.push(other),
        }
    }
    None
}

/// The words of a line as `configure` writes them down for the shell: in single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if !quoted => word.get_or_insert_default().extend(characters.next()),
            space if !quoted && space.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# system configuration generated and used by the sysconfig module
build_time_vars = {'AC_APPLE_UNIVERSAL_BUILD': 0,
 'CC': 'gcc',
 'CONFIG_ARGS': "'--build=x86_64-linux-gnu' "
                "'--with-lto' 'CFLAGS=-O2 -g' "
                "'--with-it=don'\\''t'",
 'EMPTY': '',
 'MULTIARCH_CPPFLAGS': '-DMULTIARCH=\\"x86_64-linux-gnu\\"',
 'prefix': '/usr/local'}
"#;

    #[test]
    fn strings_are_read_and_numbers_passed_over() {
        let found = Sysconfig::parse(TEXT);
        assert_eq!(found.get("CC"), Some("gcc"));
        assert_eq!(found.get("EMPTY"), Some(""));
        assert_eq!(found.get("prefix"), Some("/usr/local"));
        assert_eq!(found.get("AC_APPLE_UNIVERSAL_BUILD"), None);
        assert_eq!(
            found.get("MULTIARCH_CPPFLAGS"),
            Some(r#"-DMULTIARCH=\"x86_64-linux-gnu\""#)
        );
    }

    #[test]
    fn arguments_are_what_the_shell_would_see() {
        let expected = [
            "--build=x86_64-linux-gnu",
            "--with-lto",
            "CFLAGS=-O2 -g",
            "--with-it=don't",
        ];
        let found = Sysconfig::parse(TEXT).configure_arguments();
        assert_eq!(found, Some(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_cut_off_gives_what_came_before() {
        for end in (0..TEXT.len()).filter(|end| TEXT.is_char_boundary(*end)) {
            let found = Sysconfig::parse(&TEXT[..end]);
            assert!(found.get("prefix").is_none() || end > TEXT.len() - 3);
        }
        assert_eq!(Sysconfig::parse("raise SystemExit"), Sysconfig::default());
    }
}
