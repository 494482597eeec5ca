//! The result of every single test, out of the XML that CPython's test runner writes.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It does not apply here.
    Skipped,
    /// It failed, or broke off with an error.
    Failed,
}

/// The XML cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum JunitError {
    /// It is no XML, or was cut off.
    #[error("the results are no XML: {0}")]
    Xml(#[from] quick_xml::Error),
    /// It holds no test.
    #[error("the results name no test")]
    Empty,
}

/// The outcome of every test by its full name. Of a test that is there several times (a second try), the last.
///
/// # Errors
/// When the text is no such XML.
pub fn read(text: &str) -> Result<BTreeMap<String, Outcome>, JunitError> {
    let mut reader = Reader::from_str(text);
    let mut outcomes = BTreeMap::new();
    let mut current: Option<(String, Outcome)> = None;
    loop {
        match reader.read_event()? {
            Event::Start(element) if element.name().as_ref() == b"testcase" => {
                current = name(&element).map(|name| (name, Outcome::Passed));
            }
            Event::Empty(element) if element.name().as_ref() == b"testcase" => {
                if let Some(name) = name(&element) {
                    outcomes.insert(name, Outcome::Passed);
                }
            }
            Event::Start(element) | Event::Empty(element) => {
                if let Some((_, outcome)) = &mut current {
                    *outcome = match element.name().as_ref() {
                        b"failure" | b"error" => Outcome::Failed,
                        b"skipped" => (*outcome).max(Outcome::Skipped),
                        _ => *outcome,
                    };
                }
            }
            Event::End(element) if element.name().as_ref() == b"testcase" => {
                outcomes.extend(current.take());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if outcomes.is_empty() {
        return Err(JunitError::Empty);
    }
    Ok(outcomes)
}

/// The full name of a test: `test.test_gc.GCTests.test_boom`. Subtests, which have a space in theirs, count for it.
fn name(element: &BytesStart<'_>) -> Option<String> {
    let attribute = element.try_get_attribute("name").ok()??;
    let name = String::from_utf8_lossy(&attribute.value).into_owned();
    let end = name.find([' ', '(']).unwrap_or(name.len());
    Some(name[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read() {
        let text = "<testsuites tests=\"4\"><testsuite>\
            <testcase name=\"test.test_gc.A.test_1\" time=\"0.1\" />\
            <testcase name=\"test.test_gc.A.test_2\"><skipped>no</skipped></testcase>\
            <testcase name=\"test.test_gc.A.test_3\"><failure message=\"a &lt; b\">trace</failure><system-out/></testcase>\
            <testcase name=\"test.test_gc.A.test_4 (x=1)\"><error/></testcase>\
            </testsuite></testsuites>";
        let found = read(text).unwrap();
        let expected = [
            ("1", Outcome::Passed),
            ("2", Outcome::Skipped),
            ("3", Outcome::Failed),
            ("4", Outcome::Failed),
        ];
        assert_eq!(found.len(), 4);
        for (number, outcome) in expected {
            assert_eq!(found[&format!("test.test_gc.A.test_{number}")], outcome);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "<testsuites/>", "<testcase name='a'", "</a>"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
