//! What a team builds: a file that says it, the cells that come of it, and building them one beside the other.

pub mod cell;
pub mod file;
pub mod run;
