//! keytree
