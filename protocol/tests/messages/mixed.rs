//! Attack A20: packets of two messages mixed. A path belongs to one packet of one message.

use protocol::Rejected;

use super::subgroup::{MAC_LEN, SIGNATURE_LEN, SUITES, Subgroup, Update, domain, receive, remac};

/// The content of one packet with the proof of another.
fn spliced(suite: crypto::Suite, content: &[u8], proof: &[u8], update: &Update, path: usize) -> Vec<u8> {
    let proof_len = 1 + path * 16 + SIGNATURE_LEN + MAC_LEN;
    let mut mixed = content[..content.len() - proof_len].to_vec();
    mixed.extend_from_slice(&proof[proof.len() - proof_len..]);
    remac(suite, &update.prefilter, &mut mixed);
    mixed
}

#[test]
fn the_path_of_another_packet_or_of_another_message_proves_nothing() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let mut twin = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        // The twin is a manager rolled back: same keys, same state, another batch.
        let ours = subgroup.cut(&[9], &[3], 4);
        let theirs = twin.cut(&[10], &[5], 4);
        let (a, b) = (&ours.sealed.packets, &theirs.sealed.packets);
        for i in 0..4 {
            for j in 0..4 {
                let across = spliced(suite, &a[i], &b[j], &ours, 2);
                let refused = receive(&mut gate, (i * 4 + j) as u64 * 100, held, &across).map(drop);
                assert_eq!(refused, Err(Rejected::NotAuthentic), "content {i}, other message's path {j}");
                if i != j {
                    let within = spliced(suite, &a[i], &a[j], &ours, 2);
                    let refused =
                        receive(&mut gate, 5_000 + (i * 4 + j) as u64 * 100, held, &within).map(drop);
                    assert_eq!(refused, Err(Rejected::NotAuthentic), "content {i}, path {j}");
                }
            }
        }
        for packet in a {
            assert!(receive(&mut gate, 20_000, held, packet).is_ok());
        }
    }
}

/// A leaf is not an inner node, and a packet is bound to its place and to the number of packets.
#[test]
fn a_packet_is_not_taken_for_another_place_or_a_smaller_message() {
    let suite = SUITES[0];
    let mut subgroup = Subgroup::new(domain(suite));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut(&[9], &[3], 4);
    // Bytes 50 and 51 hold the index, 52 and 53 the number of data packets.
    for (place, value) in [(51, 0), (51, 2), (51, 3), (53, 2), (53, 3), (53, 5), (53, 8)] {
        let mut moved = update.sealed.packets[1].clone();
        moved[place] = value;
        remac(suite, &update.prefilter, &mut moved);
        let refused = receive(&mut gate, u64::from(value) * 1_000, held, &moved).map(drop);
        assert_eq!(refused, Err(Rejected::NotAuthentic), "byte {place} = {value}");
    }
    assert!(receive(&mut gate, 20_000, held, &update.sealed.packets[1]).is_ok());
}
