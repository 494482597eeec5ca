//! Spans as an extension module uses them: their identifiers, and the markers in the program that has them.

use gil_probes::check::{Nop, check_spans};
use gil_probes::elf;
use gil_span::{IdentifierError, Identity, Span, SpanId, TraceId, is_traced};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// This program uses them: it has the markers, although rustc has the linker drop what nobody refers to.
#[test]
fn markers_keep_their_contract_in_a_program_of_rust() {
    let image = elf::read(&std::env::current_exe().unwrap()).unwrap();
    let outcome = check_spans(&image);
    assert_eq!(outcome.faults, []);
    assert_eq!(outcome.nop(), Some(Nop::One));
}

#[test]
fn a_span_within_another_is_a_part_of_it() {
    assert!(!is_traced());
    let outer = Span::begin("outer");
    assert_eq!(outer.parent_id(), None);
    let inner = Span::begin("inner");
    assert_eq!(inner.trace_id(), outer.trace_id());
    assert_eq!(inner.parent_id(), Some(outer.span_id()));
    // It may outlive it.
    drop(outer);
    let part = Span::begin("part");
    assert_eq!(part.parent_id(), Some(inner.span_id()));
    drop((inner, part));
    let next = Span::begin("next");
    assert_eq!(next.parent_id(), None);
    let elsewhere = std::thread::spawn(|| Span::begin("elsewhere").parent_id());
    assert_eq!(elsewhere.join().unwrap(), None);
}

#[test]
fn identifiers_are_those_that_are_given() {
    let trace: TraceId = TRACE.parse().unwrap();
    let parent: SpanId = PARENT.parse().unwrap();
    let request = Span::begin_as(
        "request",
        Identity::below(trace, parent).with_span_id(parent),
    );
    assert_eq!(request.traceparent(), format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(request.parent_id(), Some(parent));
    // Of the same trace it is a part of the one around it, of another it is not.
    let same = Span::begin_as("same", trace);
    assert_eq!(same.parent_id(), Some(parent));
    let other = Span::begin_as("other", TraceId::try_from(1_u128).unwrap());
    assert_eq!(other.parent_id(), None);
    assert_eq!(other.trace_id().to_string(), format!("{:032}", 1));

    let upper: TraceId = TRACE.to_uppercase().parse().unwrap();
    assert_eq!(upper, trace);
    assert_eq!(TraceId::try_from(trace.to_bytes()), Ok(trace));
    assert_eq!(SpanId::try_from(parent.get().to_be_bytes()), Ok(parent));
}

#[test]
fn identifiers_of_the_wrong_form_are_refused() {
    for wrong in [
        "",
        "xyz",
        &TRACE[1..],
        &"0".repeat(32),
        &format!("+{}", &TRACE[1..]),
        "\0",
        &"é".repeat(16),
    ] {
        assert_eq!(
            wrong.parse::<TraceId>(),
            Err(IdentifierError::TraceId(wrong.to_owned()))
        );
    }
    assert!(PARENT[1..].parse::<SpanId>().is_err() && TRACE.parse::<SpanId>().is_err());
    assert!(TraceId::try_from(0_u128).is_err() && SpanId::try_from(0_u64).is_err());
    assert!(TraceId::try_from([0; 16]).is_err() && SpanId::try_from([0; 8]).is_err());
    // What was given is shown on one line, and not all of a long one.
    let error = ("\n".to_owned() + &"x".repeat(10_000)).parse::<TraceId>();
    let said = error.unwrap_err().to_string();
    assert!(said.contains("it is \"\\nxx") && said.len() < 250, "{said}");

    let header = format!("00-{TRACE}-{PARENT}-01");
    let read = Identity::from_traceparent(&header);
    assert_eq!(
        read,
        Ok(Identity::below(
            TRACE.parse().unwrap(),
            PARENT.parse().unwrap()
        ))
    );
    assert_eq!(
        Identity::from_traceparent(&format!(" 01-{TRACE}-{PARENT}-00-more\t")),
        read
    );
    for wrong in [
        String::new(),
        header.to_uppercase(),
        format!("{header}-more"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("01-{TRACE}-{PARENT}-00-{}", "x".repeat(10_000)),
    ] {
        assert!(Identity::from_traceparent(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_any_text() {
    for name in [
        "",
        "a\0b",
        "\u{1b}[31m",
        "\u{2028}",
        &"x".repeat(10_000),
        &"é".repeat(5_000),
    ] {
        assert_eq!(Span::begin(name).name(), name);
    }
}
