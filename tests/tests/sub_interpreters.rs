//! Sub-interpreters with a GIL of their own, from the markers to the report: kept apart by the GIL's address.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use gil_tests::{is_free_threaded, not_run, prefixes, run, series, text, why_no_tracing, workload};
use serde_json::Value;

/// The interpreters in which a sub-interpreter can have a GIL of its own.
fn interpreters(test: &str) -> Vec<PathBuf> {
    if let Some(reason) = why_no_tracing() {
        not_run(test, &reason);
        return Vec::new();
    }
    let fits = |prefix: &PathBuf| {
        let minor = series(prefix).trim_start_matches("3.").parse::<u32>();
        !is_free_threaded(prefix)
            && !prefix.to_string_lossy().contains("-gil-none-")
            && minor.is_ok_and(|minor| minor >= 12)
    };
    let found: Vec<PathBuf> = prefixes().into_iter().filter(fits).collect();
    if found.is_empty() {
        not_run(test, "neither 3.12 nor a later version was built");
    }
    found
}

#[test]
fn each_gil_has_its_own_threads() {
    for prefix in interpreters("each_gil_has_its_own_threads") {
        for backend in ["native", "bpftrace"] {
            let folder = tempfile::tempdir().unwrap();
            let trace = folder.path().join("interpreters.trace");
            let recorded = run(&[
                "record",
                "--backend",
                backend,
                "-o",
                trace.to_str().unwrap(),
                "--",
                prefix.join("bin/python3").to_str().unwrap(),
                workload("interpreters.py").to_str().unwrap(),
            ]);
            let said = text(&recorded);
            assert!(recorded.status.success(), "{said}");
            let truth = said.lines().find(|line| line.starts_with('{')).unwrap();
            let truth: Value = serde_json::from_str(truth).unwrap();
            let report = run(&["report", "--format", "json", trace.to_str().unwrap()]);
            let report: Value = serde_json::from_slice(&report.stdout).unwrap();
            assert_eq!(report["sessions"][0]["losses"]["lost"], 0);

            // By thread, the GILs that it took, and how often.
            let mut used: BTreeMap<u64, BTreeMap<&str, u64>> = BTreeMap::new();
            let gils = report["sessions"][0]["gils"].as_array().unwrap();
            assert_eq!(gils.len(), 3, "{} {backend}: {report:#}", prefix.display());
            for gil in gils {
                for thread in gil["threads"].as_array().unwrap() {
                    let tid = thread["tid"].as_u64().unwrap();
                    let drops = ["voluntary_drops", "forced_drops"]
                        .map(|key| thread[key].as_u64().unwrap());
                    let address = gil["address"].as_str().unwrap();
                    used.entry(tid)
                        .or_default()
                        .insert(address, drops.iter().sum());
                }
            }
            // The GIL that each thread took in every round: twice, for a write and a read.
            let taken = |name: &str| {
                let thread = &truth["threads"][name];
                let rounds = thread["rounds"].as_u64().unwrap();
                let used = &used[&thread["native_id"].as_u64().unwrap()];
                let often: Vec<&str> = used
                    .iter()
                    .filter(|(_, drops)| **drops >= 2 * rounds)
                    .map(|(address, _)| *address)
                    .collect();
                let [address] = often[..] else {
                    panic!("{name} of {}: {used:?}", prefix.display());
                };
                let rest: u64 = used.values().sum::<u64>() - used[address];
                assert!(rest < rounds / 10, "{name} took others, too: {used:?}");
                address
            };
            assert_eq!(taken("main"), taken("shared"));
            let distinct = BTreeSet::from([taken("own-1"), taken("own-2"), taken("main")]);
            assert_eq!(distinct.len(), 3);
            // A GIL cannot be held by two at once, so not for longer than there is time.
            for gil in report["gils"].as_array().unwrap() {
                assert!(gil["figures"]["utilisation"].as_f64().unwrap() <= 1.0);
            }
        }
    }
}
