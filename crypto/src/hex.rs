//! Hexadecimal form of public values in `Debug` and `Display`.

use std::fmt;

/// Writes `bytes` as lower-case hexadecimal. Only for values that are public.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
