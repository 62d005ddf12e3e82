//! The documentation says what the code does: tables of `docs/protocol.md`, numbers in
//! `docs/attacks.md`, names in `docs/paper-map.md`, links.

mod attacks;
mod codes;
mod discovery_layouts;
mod failures;
mod labels;
mod layouts;
mod limits;
mod markdown;
mod paper_map;
mod promises;
