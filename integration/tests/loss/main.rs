//! What loss costs is what `docs/loss-table.md` says, and nobody takes a living manager for lost.

mod drills;
mod table;
mod vigil;
