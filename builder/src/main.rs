//! The `gilbuild` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    gilbuild::cli::main()
}
