//! The documentation says what the code does: tables of `docs/protocol.md`, names in `docs/paper-map.md`, links.

mod codes;
mod labels;
mod layouts;
mod limits;
mod markdown;
mod paper_map;
