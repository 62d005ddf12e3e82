//! The code of forward error correction (KS 4.1): any `data` of a block's `data + parity` shards give all of its data.
//!
//! Reed–Solomon in GF(2^16) by the additive FFT of Leopard. A block is encoded as a whole for its numbers of data and
//! parity shards; both are in the header, and another pair gives other parity. This file alone names the library.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// The parity shards of a block, from data shards of one even length.
///
/// Called by the manager once a block. `None` without data or parity, or with shards of different or odd length.
pub(super) fn encode(data: &[Vec<u8>], parity: usize) -> Option<Vec<Vec<u8>>> {
    let shard_len = data.first()?.len();
    let mut encoder = ReedSolomonEncoder::new(data.len(), parity, shard_len).ok()?;
    for shard in data {
        encoder.add_original_shard(shard).ok()?;
    }
    let encoded = encoder.encode().ok()?;
    Some(encoded.recovery_iter().map(<[u8]>::to_vec).collect())
}

/// The data shards that are not among `held`, each with its place in the block.
///
/// `held` are shards with their positions: data from 0, parity from `data` on, all of one even length. It takes `data` of
/// them; with fewer there is no answer. The caller hands in verified shards only: one that is not the manager's makes all
/// of the answer wrong, and nothing in the code notices.
pub(super) fn decode(data: usize, parity: usize, held: &[(usize, &[u8])]) -> Option<Vec<(usize, Vec<u8>)>> {
    let (position, shard) = *held.first()?;
    let shard_len = shard.len();
    if data == 1 && held.len() == 1 && position <= parity {
        // The polynomial through one point is a constant: parity of one shard is that shard. A decoder takes a millisecond
        // to find that out, at every member that lost the only packet of an eviction.
        return Some((position > 0).then(|| (0, shard.to_vec())).into_iter().collect());
    }
    let mut decoder = ReedSolomonDecoder::new(data, parity, shard_len).ok()?;
    for (position, shard) in held {
        if *position < data {
            decoder.add_original_shard(*position, shard).ok()?;
        } else {
            decoder.add_recovery_shard(position - data, shard).ok()?;
        }
    }
    let decoded = decoder.decode().ok()?;
    Some(decoded.restored_original_iter().map(|(position, shard)| (position, shard.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|shard| (0..64).map(|at| (shard * 37 + at * 11) as u8).collect()).collect()
    }

    #[test]
    fn any_shards_as_many_as_the_data_give_all_of_it_for_every_loss_pattern() {
        for (data, parity) in [(1, 3), (2, 2), (3, 5), (5, 4), (6, 6)] {
            let original = shards(data);
            let coded = encode(&original, parity).unwrap();
            let all: Vec<_> = original.iter().chain(&coded).map(Vec::as_slice).enumerate().collect();
            for pattern in 0_u32..1 << (data + parity) {
                let held: Vec<_> =
                    all.iter().filter(|(position, _)| pattern & 1 << position != 0).copied().collect();
                let decoded = decode(data, parity, &held);
                if held.len() < data {
                    assert_eq!(decoded, None, "{data}+{parity}, {pattern:b}");
                    continue;
                }
                let decoded = decoded.unwrap();
                let missing = (0..data).filter(|position| pattern & 1 << position == 0);
                assert!(missing.eq(decoded.iter().map(|(position, _)| *position)), "{pattern:b}");
                assert!(decoded.iter().all(|(position, shard)| *shard == original[*position]), "{pattern:b}");
            }
        }
    }

    #[test]
    fn what_cannot_be_encoded_or_decoded_is_refused() {
        assert_eq!(encode(&[], 2), None);
        assert_eq!(encode(&shards(3), 0), None);
        assert_eq!(encode(&[vec![1; 63]], 2), None, "odd");
        assert_eq!(encode(&[vec![1; 64], vec![1; 62]], 2), None, "of two lengths");
        let shard = [1; 64];
        assert_eq!(decode(2, 2, &[]), None);
        assert_eq!(decode(2, 2, &[(0, &shard), (9, &shard)]), None, "no such place");
        assert_eq!(decode(2, 2, &[(0, &shard), (0, &shard)]), None, "the same twice");
        assert_eq!(decode(2, 2, &[(0, &shard), (2, &shard[..62])]), None, "of two lengths");
    }
}
