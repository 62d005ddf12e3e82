//! gsm
