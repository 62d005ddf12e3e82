//! End to end on loopback: real processes' parts, one property a file.

mod support;

mod one_stream_many_readers;
