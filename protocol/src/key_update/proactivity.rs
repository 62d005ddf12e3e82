//! How much parity to send along with a block of a key update, before anybody asks (KS 4.1).
//!
//! Keystone cuts a rekey message into units, of which a receiver needs all, and adds repair units; any `units` of them
//! give the message. Our packets serve a range of members each, so a receiver needs *one* packet or any `units` of its
//! block: [`message_loss`] is the paper's formula and [`packet_loss`] ours, which is smaller by about the loss itself.
//! Both take losses to be independent. In bursts more is lost; a manager that adapts to the NAKs it hears makes up for it.

/// The probability that a receiver gets fewer than `units` of `units` + `parity` packets, each lost with probability
/// `loss`: Keystone's P_m(s, r, p). It cannot reconstruct the block then.
pub fn message_loss(units: u16, parity: u16, loss: f64) -> f64 {
    at_least(parity + 1, units + parity, loss)
}

/// The probability that a receiver that needs one packet of a block of `units` data and `parity` parity packets gets
/// neither that packet nor `units` others. With no parity it is `loss`.
///
/// This times the number of members is how many of them ask for repair after the first sending.
pub fn packet_loss(units: u16, parity: u16, loss: f64) -> f64 {
    let others = (units + parity).saturating_sub(1);
    loss * at_least(parity, others, loss)
}

/// The fewest parity packets, up to `most`, with which at most `bound` of the receivers that need the whole block cannot
/// reconstruct it: Keystone's repair schemes, "rs1" and "rs2", for `bound` 0.001.
pub fn parity_for_message(units: u16, loss: f64, bound: f64, most: u16) -> u16 {
    (0..most).find(|parity| within(message_loss(units, *parity, loss), bound)).unwrap_or(most)
}

/// The fewest parity packets, up to `most`, with which at most `bound` of the receivers that need one packet of the block
/// lack it after the first sending. Too few cost rounds of NAKs, too many cost bytes and nothing else.
pub fn parity_for_packet(units: u16, loss: f64, bound: f64, most: u16) -> u16 {
    (0..most).find(|parity| within(packet_loss(units, *parity, loss), bound)).unwrap_or(most)
}

/// Whether a bound holds. It is met exactly where loss and bound are powers of ten, and the rounding of a sum must not cost
/// a packet then.
fn within(probability: f64, bound: f64) -> bool {
    probability <= bound * (1.0 + 1e-9)
}

/// The probability that of `all` packets `least` or more are lost.
///
/// From one binomial term to the next there is one factor, so nothing overflows; with the numbers of packets that a block
/// has, the terms are all within what an `f64` holds.
fn at_least(least: u16, all: u16, loss: f64) -> f64 {
    if least > all {
        return 0.0;
    }
    if loss <= 0.0 || loss >= 1.0 {
        return if least == 0 || loss >= 1.0 { 1.0 } else { 0.0 };
    }
    let odds = loss / (1.0 - loss);
    let mut term = (0..all).fold(1.0, |term, _| term * (1.0 - loss));
    let mut sum = 0.0;
    for lost in 0..=all {
        if lost >= least {
            sum += term;
        }
        term *= odds * f64::from(all - lost) / f64::from(lost + 1);
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u16 = 22;

    #[test]
    fn without_parity_a_member_lacks_its_packet_as_often_as_packets_are_lost() {
        for (units, percent) in [(1, 10), (7, 20), (10, 40)] {
            let loss = f64::from(percent) / 100.0;
            assert!((packet_loss(units, 0, loss) - loss).abs() < 1e-12, "{units} units at {percent} %");
        }
    }

    #[test]
    fn a_repeated_packet_is_lost_if_every_copy_is() {
        assert!((packet_loss(1, 2, 0.2) - 0.008).abs() < 1e-12, "parity of one packet is a repeat");
        assert!((message_loss(1, 2, 0.2) - 0.008).abs() < 1e-12);
    }

    #[test]
    fn who_needs_one_packet_needs_less_parity_than_who_needs_all() {
        for percent in [5, 10, 20, 30, 40] {
            let loss = f64::from(percent) / 100.0;
            for units in 1..=10 {
                let (one, all) = (
                    parity_for_packet(units, loss, 0.001, MOST),
                    parity_for_message(units, loss, 0.001, MOST),
                );
                assert!(one <= all, "{units} units at {percent} %");
            }
        }
    }

    #[test]
    fn the_fewest_that_hold_the_bound_are_taken_and_never_more_than_allowed() {
        let parity = parity_for_packet(10, 0.2, 0.02, MOST);
        assert!(packet_loss(10, parity, 0.2) <= 0.02 && packet_loss(10, parity - 1, 0.2) > 0.02);
        assert_eq!(parity_for_packet(10, 0.9, 1e-9, MOST), MOST);
        assert_eq!(parity_for_message(10, 1.0, 0.5, MOST), MOST);
        assert_eq!(parity_for_packet(10, 0.0, 0.0, MOST), 0);
    }

    #[test]
    fn the_largest_block_stays_a_probability() {
        for percent in 0..=100 {
            let loss = f64::from(percent) / 100.0;
            let both = [message_loss(128, 127, loss), packet_loss(128, 127, loss)];
            assert!(both.iter().all(|probability| (0.0..=1.0).contains(probability)), "{percent} %");
        }
    }
}
