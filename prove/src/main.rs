//! `make prove ISSUE=…`: runs every line under "It must show" of an issue and prints `line | figure | limit | ok`.
//!
//! Each figure is measured here and now, out of what the program or a named test prints; no figure is kept anywhere.

mod evidence;
mod issue_01a;
mod issue_01b;
mod issue_02;
mod table;

use std::process::ExitCode;

use table::Table;

fn main() -> ExitCode {
    let mut table = Table::default();
    match std::env::args().nth(1).as_deref() {
        Some("01a") => issue_01a::prove(&mut table),
        Some("01b") => issue_01b::prove(&mut table),
        Some("02") => issue_02::prove(&mut table),
        other => {
            eprintln!(
                "usage: prove ISSUE, with an ISSUE of: 01a, 01b, 02 (not {})",
                other.unwrap_or("nothing")
            );
            return ExitCode::from(2);
        }
    }
    print!("\n{table}");
    if table.all_hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
