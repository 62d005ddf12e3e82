//! The data plane from outside: sealers, openers and the rings between them.

mod attacks;
mod forging;
mod seal_and_open;
mod support;
mod switches;
mod waits;
