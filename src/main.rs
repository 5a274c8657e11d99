//! The `syrinx` program: see [`syrinx::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    syrinx::cli::main()
}
