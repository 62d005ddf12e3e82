//! One bit turns, in any file of the store.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use storage::{Health, Loaded, Store, StoreError};

use crate::promise::{Promise, Verdict};
use crate::script::Found;
use crate::support::{copy_dir, directory, dirs, record, snapshot, start, wait};

/// How many bits turn, one in each copy of the store.
const FLIPS: usize = 1_000;
/// How many of them in the database; the others are shared among the other files.
const IN_DATABASE: usize = 400;

/// What a turned bit did.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Effect {
    Detected,
    Harmless,
    /// What was found is not what it is said to be.
    Silent(String),
    Panic,
}

/// A closed store with a snapshot up to 10 and records up to 40, which was started again.
fn filled(root: &Path) {
    let (mut store, _) = start(root).unwrap();
    (1..=20).for_each(|commit| wait(store.append(&[record(commit)])).unwrap());
    wait(store.compact(snapshot(10))).unwrap();
    (21..=40).for_each(|commit| wait(store.append(&[record(commit)])).unwrap());
    drop(store);
    start(root).unwrap();
}

/// All files that have any content, and how many bytes of them count: after those there are only zeros.
fn files(dir: &Path) -> Vec<(PathBuf, usize)> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let found = paths.into_iter().flat_map(|path| {
        if path.is_dir() {
            return files(&path);
        }
        let bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        if used == 0 { Vec::new() } else { vec![(path, used)] }
    });
    found.collect()
}

/// Which bits turn: evenly over each file.
fn places(root: &Path) -> Vec<(PathBuf, usize)> {
    let files = files(root);
    let is_database = |path: &Path| path.ends_with("db/db");
    let share = (FLIPS - IN_DATABASE) / (files.len() - 1);
    let mut places = Vec::new();
    for (path, used) in files.iter().filter(|(path, _)| !is_database(path)) {
        places.extend((0..share).map(|at| (path.clone(), at * used * 8 / share)));
    }
    let (path, used) = files.iter().find(|(path, _)| is_database(path)).unwrap();
    let rest = FLIPS - places.len();
    places.extend((0..rest).map(|at| (path.clone(), at * used * 8 / rest)));
    places
}

fn turn(path: &Path, bit: usize) {
    let permissions = fs::metadata(path).unwrap().permissions();
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, permissions).unwrap();
}

/// What a start makes of the store below `root`, one bit of which has turned.
fn look(root: &Path, promise: &Promise) -> Result<Effect, StoreError> {
    let (mut store, loaded) = start(root)?;
    let is_true = loaded.records.iter().all(|found| *found == record(found.commit))
        && loaded.snapshot.iter().all(|found| *found == snapshot(found.upto));
    let effect = match promise.judge(&loaded) {
        Verdict::Kept => Effect::Harmless,
        Verdict::Lost(_) | Verdict::FalseAlarm(_) if is_true && loaded.next_commit() == 41 => {
            Effect::Detected
        }
        verdict => Effect::Silent(format!("{verdict:?}")),
    };
    // Whatever it was, the store goes on, and what comes is kept.
    wait(store.append(&[record(41)]))?;
    drop(store);
    let (_, after) = start(root)?;
    let went_on = after.health == Health::Whole && after.records.last() == Some(&record(41));
    Ok(if went_on { effect } else { Effect::Silent(format!("{effect:?}, but then {}", after.health)) })
}

fn effect(pristine: &Path, path: &Path, bit: usize, promise: &Promise) -> Effect {
    let root = directory();
    copy_dir(pristine, root.path());
    let path = root.path().join(path.strip_prefix(pristine).unwrap());
    turn(&path, bit);
    match catch_unwind(AssertUnwindSafe(|| look(root.path(), promise))) {
        Ok(Ok(effect)) => effect,
        // The store does not start. That costs nothing: with the bit turned back, everything is there.
        Ok(Err(StoreError::WrongKey { .. } | StoreError::MissingKey { .. })) => {
            turn(&path, bit);
            match start(root.path()) {
                Ok((_, loaded)) if promise.judge(&loaded) == Verdict::Kept => Effect::Detected,
                Ok((_, loaded)) => Effect::Silent(format!("turned back: {}", loaded.health)),
                Err(error) => Effect::Silent(format!("turned back: {error}")),
            }
        }
        Ok(Err(error)) => Effect::Silent(format!("refused: {error}")),
        Err(_) => Effect::Panic,
    }
}

#[test]
fn one_turned_bit_in_any_file_is_detected_or_harmless() {
    let pristine = directory();
    filled(pristine.path());
    let whole: Loaded = {
        let copy = directory();
        copy_dir(pristine.path(), copy.path());
        start(copy.path()).unwrap().1
    };
    assert_eq!(Found::of(&whole), Found { snapshot: 10, held: 40, lost: 0 });
    let promise = Promise::of(&whole);
    let places = places(pristine.path());
    let half = places.len() / 2;
    let effects = |places: &[(PathBuf, usize)]| -> Vec<Effect> {
        places.iter().map(|(path, bit)| effect(pristine.path(), path, *bit, &promise)).collect()
    };
    let effects = std::thread::scope(|scope| {
        let first = scope.spawn(|| effects(&places[..half]));
        let second = effects(&places[half..]);
        [first.join().unwrap(), second].concat()
    });
    let count = |is: fn(&Effect) -> bool| effects.iter().filter(|effect| is(effect)).count();
    let detected = count(|effect| *effect == Effect::Detected);
    let harmless = count(|effect| *effect == Effect::Harmless);
    let panics = count(|effect| *effect == Effect::Panic);
    let silent = effects.len() - detected - harmless - panics;
    println!(
        "bit flips: {}, detected: {detected}, harmless: {harmless}, silent rollbacks: {silent}, panics: {panics}",
        effects.len(),
    );
    for (name, count) in
        [("bit_flips", effects.len()), ("bit_flips_silent", silent), ("bit_flips_panics", panics)]
    {
        println!("{name} {count}");
    }
    let bad: Vec<_> = places
        .iter()
        .zip(&effects)
        .filter(|(_, effect)| matches!(effect, Effect::Silent(_) | Effect::Panic))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(effects.len(), FLIPS);
    // The keys, the anchor and most of the database cannot be harmless.
    assert!(detected >= 300, "{detected}");
    assert!(dirs(pristine.path()).keys.join("anchor").exists());
}
