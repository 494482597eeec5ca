//! Two runs of the same tests, held side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::junit::Outcome;
use super::regrtest::Results;

/// What became of a file's tests on one interpreter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
}

/// One file of tests on both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name, `test_gc`.
    pub file: String,
    /// On the interpreter that is tested.
    pub tested: Tally,
    /// On the one that it is held against.
    pub against: Tally,
    /// The heading under which the runner lists the file, where it has one on either.
    pub listed: (Option<String>, Option<String>),
    /// The tests with different outcomes, or that only one of them has: `None` where there is none.
    pub differences: Vec<(String, Option<Outcome>, Option<Outcome>)>,
}

impl Row {
    /// Whether not a single test ran on either, and the runner does not say that they are skipped.
    #[must_use]
    pub fn has_no_tests(&self) -> bool {
        let none = Tally::default();
        let failed = |listed: &Option<String>| listed.as_deref() == Some("failed");
        self.tested == none
            && self.against == none
            && failed(&self.listed.0)
            && failed(&self.listed.1)
    }

    /// Whether everything is the same.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && self.listed.0 == self.listed.1
    }
}

/// Holds two runs against each other, file by file.
#[must_use]
pub fn compare(tested: &Results, against: &Results) -> Vec<Row> {
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in tested.tests.keys().chain(against.tests.keys()) {
        files.entry(file_of(name)).or_default().insert(name);
    }
    for file in tested.files.keys().chain(against.files.keys()) {
        files.entry(file).or_default();
    }
    files
        .into_iter()
        .map(|(file, names)| row(file, &names, tested, against))
        .collect()
}

fn row(file: &str, names: &BTreeSet<&str>, tested: &Results, against: &Results) -> Row {
    let mut row = Row {
        file: file.to_owned(),
        tested: Tally::default(),
        against: Tally::default(),
        listed: (
            tested.files.get(file).cloned(),
            against.files.get(file).cloned(),
        ),
        differences: Vec::new(),
    };
    for name in names {
        let outcomes = (
            tested.tests.get(*name).copied(),
            against.tests.get(*name).copied(),
        );
        row.tested.count(outcomes.0);
        row.against.count(outcomes.1);
        if outcomes.0 != outcomes.1 {
            row.differences
                .push(((*name).to_owned(), outcomes.0, outcomes.1));
        }
    }
    row
}

impl Tally {
    fn count(&mut self, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Passed) => self.passed += 1,
            Some(Outcome::Skipped) => self.skipped += 1,
            Some(Outcome::Failed) => self.failed += 1,
            None => {}
        }
    }
}

/// The file that a test is in: `test_gc` of `test.test_gc.GCTests.test_boom`. Files in folders keep the folder:
/// `test_asyncio.test_base`. What stands for a whole file or class (`setUpClass`) has no dots.
fn file_of(test: &str) -> &str {
    let test = test.strip_prefix("test.").unwrap_or(test);
    let mut end = 0;
    for part in test.split('.') {
        if !part.starts_with("test_") || end + part.len() == test.len() {
            break;
        }
        end += part.len() + 1;
    }
    if end == 0 { test } else { &test[..end - 1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(tests: &[(&str, Outcome)], files: &[(&str, &str)]) -> Results {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Results {
            tests: tests
                .iter()
                .map(|(name, outcome)| ((*name).to_owned(), *outcome))
                .collect(),
            files: files.iter().map(owned).collect(),
        }
    }

    #[test]
    fn a_test_belongs_to_its_file() {
        for (test, file) in [
            ("test.test_gc.GCTests.test_boom", "test_gc"),
            (
                "test.test_asyncio.test_base.A.test_b",
                "test_asyncio.test_base",
            ),
            ("test_gc.A.test_1", "test_gc"),
            ("setUpClass", "setUpClass"),
            ("test_gc", "test_gc"),
        ] {
            assert_eq!(file_of(test), file);
        }
    }

    #[test]
    fn what_differs_is_found() {
        let tested = results(
            &[
                ("test.test_a.A.test_1", Outcome::Passed),
                ("test.test_a.A.test_2", Outcome::Failed),
                ("test.test_b.A.test_1", Outcome::Failed),
            ],
            &[("test_b", "failed"), ("test_c", "failed")],
        );
        let against = results(
            &[
                ("test.test_a.A.test_1", Outcome::Passed),
                ("test.test_a.A.test_2", Outcome::Passed),
                ("test.test_b.A.test_1", Outcome::Failed),
            ],
            &[("test_b", "failed")],
        );
        let rows = compare(&tested, &against);
        let same: Vec<_> = rows
            .iter()
            .map(|row| (row.file.as_str(), row.is_same()))
            .collect();
        assert_eq!(
            same,
            [("test_a", false), ("test_b", true), ("test_c", false)]
        );
        assert_eq!(rows[0].differences.len(), 1);
        assert_eq!(rows[0].tested.failed, 1);
        assert_eq!(rows[0].against.passed, 2);
    }
}
