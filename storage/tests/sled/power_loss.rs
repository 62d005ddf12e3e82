//! The power goes while a commit is on its way to the disk: any part of what was not synced may be there.

use std::fs;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use storage::{Health, Record, Store};

use crate::support::{Place, copy_dir, start, wait};

const BLOCK: usize = 512;

fn record(commit: u64) -> Record {
    Record { commit, bytes: vec![commit as u8; 100 + (commit as usize * 997) % 9_000] }
}

/// `before` with some of the blocks of `after`: a random half of those that differ, and of the growth.
fn torn(before: &[u8], after: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut image = before.to_vec();
    if after.len() > image.len() && rng.next_u32().is_multiple_of(2) {
        image.resize(after.len(), 0);
    }
    for at in (0..image.len()).step_by(BLOCK) {
        let end = (at + BLOCK).min(image.len()).min(after.len());
        if at < end && rng.next_u32().is_multiple_of(2) {
            image[at..end].copy_from_slice(&after[at..end]);
        }
    }
    image
}

#[test]
fn every_acknowledged_record_survives_whatever_part_of_the_next_commit_reached_the_disk() {
    let (place, image) = (Place::new(), Place::new());
    let (mut store, _) = place.start();
    let mut last = 0;
    for round in 0..60_u64 {
        let before = Place::new();
        copy_dir(&place.dirs.data, &before.dirs.data);
        copy_dir(&place.dirs.keys, &before.dirs.keys);
        let batch: Vec<_> = (last + 1..=last + 1 + round % 5).map(record).collect();
        wait(store.append(&batch)).unwrap();
        let [old, new] = [&before, &place].map(|at| fs::read(at.data("db/db")).unwrap());
        for seed in 0..3 {
            let mut rng = ChaCha20Rng::seed_from_u64(round * 100 + seed);
            let _ = fs::remove_dir_all(&image.dirs.data);
            let _ = fs::remove_dir_all(&image.dirs.keys);
            copy_dir(&before.dirs.data, &image.dirs.data);
            copy_dir(&before.dirs.keys, &image.dirs.keys);
            fs::write(image.data("db/db"), torn(&old, &new, &mut rng)).unwrap();
            let (_, loaded) = start(&image.dirs).unwrap();
            let right = if last == 0 { Health::Fresh } else { Health::Whole };
            let whole = last + batch.len() as u64;
            assert!(
                (loaded.held() == last && loaded.health == right)
                    || (loaded.held() == whole && loaded.health == Health::Whole),
                "commits {last} to {whole}, seed {seed}: {} {:?}",
                loaded.held(),
                loaded.health
            );
            assert_eq!(loaded.records, (1..=loaded.held()).map(record).collect::<Vec<_>>());
        }
        last += batch.len() as u64;
    }
}
