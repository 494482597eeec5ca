//! CPython's own tests on two interpreters: whether markers have changed anything that they see.

pub mod compare;
pub mod junit;
pub mod regrtest;
