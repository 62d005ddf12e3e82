//! The cryptography of Conclave, and the only crate below `endpoint` that names a cryptographic library.
//!
//! It holds no state of a group and does no I/O: no clock, no random source, no socket, no thread. Randomness
//! is handed in ([`Secret::random`], [`MessageXof`]); signing and checking are traits ([`Signer`],
//! [`Verifier`]) that a program fills with Ed25519 and a simulation with something cheaper.
//!
//! | you need | take |
//! |---|---|
//! | to hold a key | [`Secret`] |
//! | the set of algorithms of a group | [`Suite`] |
//! | a key from a key, for one purpose | [`derive()`], with a [`Label`] |
//! | a hash or a short MAC over fields | [`hash`], [`mac`] |
//! | key tree entries and one-way functions | [`NodeKey`] |
//! | all randomness of one message | [`MessageXof`] |
//! | one signature for many packets | [`MerkleTree`], [`merkle_leaf`], [`merkle_verify`] |
//! | to seal payload | [`Aead`] |
//! | to hand a data key on | [`key_wrap()`], [`key_unwrap`] |
//! | to sign and check | [`Ed25519Signer`], [`Ed25519Verifier`] |
//! | to agree on a key | [`ExchangeSecret`] |
//! | what a certificate says of a node | [`read_certificate`] |
//!
//! # The key schedule
//!
//! Everything labelled is one function of one encoding:
//!
//! ```text
//! encoding = "conclave " ‖ label ‖ 0x00 ‖ suite (u16) ‖ { length (u32) ‖ bytes } for each part
//! ```
//!
//! with all integers big-endian. A label holds no zero byte and each part is preceded by its length, so two
//! different calls never give the same encoding. Then
//!
//! | | suite 0x0001 | suite 0x0002 |
//! |---|---|---|
//! | [`derive()`] | first N bytes of BLAKE3(key; encoding), keyed mode | HKDF-Expand(key, encoding, N), SHA-256 |
//! | [`mac`] | first 16 bytes of BLAKE3(key; encoding) | first 16 bytes of HMAC-SHA256(key, encoding) |
//! | [`hash`] | BLAKE3(encoding) | SHA-256(encoding) |
//!
//! The key tree has its own block formats, given at [`NodeKey`]; the Merkle tree's are at [`MerkleTree`].

mod aead;
mod certificate;
mod derive;
mod exchange;
mod hex;
mod key_wrap;
mod label;
mod merkle;
mod message_xof;
mod node_key;
pub mod roles;
mod secret;
mod signature;
mod suite;

pub use aead::{Aead, MAX_SEALED_LEN, OpenError, TAG_LEN};
pub use certificate::{CertificateError, CertificateFacts, MAX_CERTIFICATE_LEN, read_certificate};
pub use derive::{derive, hash, mac};
pub use exchange::{ExchangePublic, ExchangeSecret};
pub use key_wrap::{UnwrapError, WRAPPED_KEY_LEN, key_unwrap, key_wrap};
pub use label::Label;
pub use merkle::{MerkleHash, MerkleTree, merkle_leaf, merkle_verify};
pub use message_xof::MessageXof;
pub use node_key::{EntryIv, MAX_ENTRY_INDEX, MAX_ENTRY_LEVEL, NodeKey, OneWay, Position};
pub use roles::{ROLE_ARC, ROLE_MAA, ROLE_MANAGER, ROLE_MEMBER, Roles};
pub use secret::{Secret, constant_time_eq, wipe};
pub use signature::{Ed25519Signer, Ed25519Verifier, PublicKey, Signature, Signer, Verifier};
pub use suite::Suite;
