//! The data plane from outside: sealers, openers and the rings between them.

mod seal_and_open;
mod support;
