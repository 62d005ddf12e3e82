/// Declares [`Label`]: one line a label, `Variant => "text as it enters the derivation"`.
macro_rules! labels {
    ($($(#[$doc:meta])+ $variant:ident => $text:literal,)+) => {
        /// What a derived key, MAC or hash is for: every label of the project, in one place.
        ///
        /// A key has one use, and the label is what keeps the uses apart; two calls may share a label only if
        /// their context has the same form and the same output length. The texts are part of the published
        /// key schedule: changing one changes the protocol. To add a label, add a line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Label {
            $($(#[$doc])+ $variant,)+
        }

        impl Label {
            /// All labels, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text that enters the derivation.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

labels! {
    // The key tree.
    /// Group key from the root secret; context: state id.
    Group => "group",
    /// Value by which a member checks that its group key is the manager's; context: state id.
    KeyCheck => "key-check",
    /// Key of the MAC that lets packets be dropped before their signature is looked at. It opens nothing.
    Prefilter => "prefilter",
    /// MAC under the prefilter key over a control packet.
    PrefilterMac => "prefilter-mac",
    /// MAC under the prefilter key over a NAK.
    NakMac => "nak-mac",
    /// MAC under the prefilter key over a suspicion.
    SuspicionMac => "suspicion-mac",
    /// Hash of a verified datagram, to know its copies by.
    DatagramPrint => "datagram-print",
    /// Key-encryption key of an entry (suite 0x0002 only); context: the wrapped node.
    EntryKek => "entry-kek",
    /// One-way functions of a node secret (suite 0x0002 only); context: kind, tree, node.
    OneWay => "one-way",
    /// All randomness of one key update: the generator's key from the seed drawn for it.
    MessageSeed => "message-seed",
    /// Hash of the marked batch that enters the message seed.
    BatchHash => "batch-hash",
    /// Short name of a state id, to index keys by.
    StateKeyId => "state-key-id",

    // Registration: all from the channel secret of one TLS connection.
    /// Leaf secret; opens tree entries only.
    Leaf => "leaf",
    /// Unicast key; seals repair and keepalives between a member and its manager.
    Unicast => "unicast",
    /// MAC key by which the manager confirms it holds the same channel secret.
    ConfirmManager => "confirm-manager",
    /// MAC key by which the member confirms it.
    ConfirmMember => "confirm-member",
    /// MAC over the registration under one of the confirmation keys.
    ConfirmMac => "confirm-mac",

    /// Leaf secret after a renewal, from the agreed secret; context: number and the leaf secret before.
    RenewLeaf => "renew-leaf",
    /// Unicast key after a renewal, likewise.
    RenewUnicast => "renew-unicast",

    // The data plane.
    /// Key that wraps a data key for one sender under a group key.
    KrWrap => "kr-wrap",
    /// Commitment to a data key, carried in the inner header.
    KrCommit => "kr-commit",
    /// Data key of a generation from fresh randomness and what makes the generation unique.
    Kr => "kr",

    // Names and digests.
    /// Group id from group name and CA key.
    GroupId => "group-id",
    /// Group or local address from group and subgroup, where there is no server to lease one.
    LocalAddress => "local-address",
    /// Address on which the nodes of a group find each other.
    DiscoveryAddress => "discovery-address",
    /// Hash of a mandate, to know one by that was checked before.
    MandatePrint => "mandate-print",
    /// Digest of the roster of eligible successors.
    RosterDigest => "roster-digest",
    /// Hash under which an identity stands in a revocation.
    IdentityHash => "identity-hash",

    // What is signed, so that no signature can be moved from one kind of message to another.
    /// Signature of a key update.
    SignKeyUpdate => "sign-key-update",
    /// Signature of an alarm.
    SignAlarm => "sign-alarm",
    /// Signature of a member's credential.
    SignCredential => "sign-credential",
    /// Signature of the roster.
    SignRoster => "sign-roster",
    /// Signature of a revocation; group-wide, so its context names no subgroup.
    SignRevocation => "sign-revocation",
    /// Signature by a certificate's key over the manager's signing key.
    SignMandate => "sign-mandate",
    /// Signature of a claim to be manager.
    SignClaim => "sign-claim",
    /// Signature of a manager's presence on the discovery address.
    SignPresence => "sign-presence",
    /// Signature of a starting manager's question.
    SignQuestion => "sign-question",
    /// Signature of a manager's farewell.
    SignFarewell => "sign-farewell",
    /// Signature of a member's suspicion of its manager.
    SignSuspicion => "sign-suspicion",
    /// Signature of a takeover, by the new manager or by the one before.
    SignTakeover => "sign-takeover",
    /// Signature of a renewal.
    SignRenewal => "sign-renewal",

    // Trees of packets.
    /// Leaves and nodes of a Merkle tree over packets.
    Merkle => "merkle",

    // What a manager keeps on disk.
    /// Keys of a store from its key file; context: what for.
    StoreKey => "store-key",
    /// MAC over a small file of a store.
    StoreMac => "store-mac",
    /// Chain value of a record from the one before it.
    StoreChain => "store-chain",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_differ_and_hold_no_zero_byte() {
        let texts: BTreeSet<_> = Label::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(texts.len(), Label::ALL.len());
        assert!(texts.iter().all(|text| !text.is_empty() && text.is_ascii() && !text.contains('\0')));
    }
}
