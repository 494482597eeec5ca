//! An extension module that tells gilbuild which request it works for.
//!
//! `primes.count(limit, traceparent)` is a request in the trace that the header names, with a part that keeps the GIL and one that
//! does not. `primes.serve(name, function, trace_id)` is one that calls Python code.

use gil_probes::span::{self, IdentifierError, Identity, Span, TraceId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pyfunction]
#[pyo3(signature = (limit, traceparent = None))]
fn count(python: Python<'_>, limit: usize, traceparent: Option<&str>) -> PyResult<usize> {
    let _request = match traceparent {
        None => Span::begin("primes.count"),
        Some(header) => Span::begin_as(
            "primes.count",
            Identity::from_traceparent(header).map_err(refuse)?,
        ),
    };
    let sieve = {
        let _part = Span::begin("sieve");
        sieve(limit)
    };
    let _part = Span::begin("sum");
    Ok(python.detach(|| sieve.iter().filter(|&&is_prime| is_prime).count()))
}

#[pyfunction]
#[pyo3(signature = (name, function, trace_id = None))]
fn serve(name: &str, function: &Bound<'_, PyAny>, trace_id: Option<&str>) -> PyResult<Py<PyAny>> {
    let _request = match trace_id {
        None => Span::begin(name),
        Some(digits) => Span::begin_as(name, digits.parse::<TraceId>().map_err(refuse)?),
    };
    Ok(function.call0()?.unbind())
}

/// Whether a tracer is attached to this module's markers.
#[pyfunction]
fn is_traced() -> bool {
    span::is_traced()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err gives the error away"
)]
fn refuse(error: IdentifierError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn sieve(limit: usize) -> Vec<bool> {
    let mut sieve = vec![true; limit];
    for number in 0..limit {
        if number < 2 {
            sieve[number] = false;
        } else if sieve[number] {
            for multiple in (number * number..limit).step_by(number) {
                sieve[multiple] = false;
            }
        }
    }
    sieve
}

#[pymodule]
fn primes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(count, module)?)?;
    module.add_function(wrap_pyfunction!(serve, module)?)?;
    module.add_function(wrap_pyfunction!(is_traced, module)?)
}
