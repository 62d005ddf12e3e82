//! Images of the disk at every write of the script, and what the engine makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use storage::{Health, Loaded, SledStore, Store};

use crate::disk::{Change, Disk, Image, Part};
use crate::promise::{Promise, Verdict};
use crate::recorded::Recorded;
use crate::script::OPERATIONS;
use crate::support::{copy_dir, directory, record, start, wait};

/// How many images are opened; all that `make test` has time for if it is not set.
const IMAGES: &str = "CONCLAVE_IMAGES";
pub(crate) const FEW: usize = 1_500;
/// Images with a random part of what was not synced, for each change.
const RANDOM: u64 = 8;

/// Which of the changes that no sync made safe are in an image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Kind {
    /// All but the newest.
    Before,
    /// All: the process was killed, and nothing else.
    After,
    /// All, and of the newest the first half.
    Torn,
    /// None.
    Synced,
    /// A random part.
    Some(u64),
}

impl Recorded {
    /// Every image that differs from the others in what is on the disk or in what was promised.
    fn plan(&self) -> Vec<(u64, Kind)> {
        let mut seen = BTreeSet::new();
        let mut plan = Vec::new();
        self.play(|disk, promise, number| {
            let fixed = [Kind::Before, Kind::After, Kind::Torn, Kind::Synced];
            for kind in fixed.into_iter().chain((0..RANDOM).map(Kind::Some)) {
                let mut hasher = DefaultHasher::new();
                (disk.signature(&kept(disk, number, kind)), format!("{promise:?}")).hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    plan.push((number, kind));
                }
            }
        });
        plan
    }

    /// Opens `wanted` of the images, or all if there are fewer.
    pub(crate) fn open(&self, wanted: usize) -> Tally {
        let mut plan = self.plan();
        // Any share is of all kinds and from all over the script.
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for at in 0..plan.len().min(wanted) {
            let other = at + rng.next_u64() as usize % (plan.len() - at);
            plan.swap(at, other);
        }
        plan.truncate(wanted);
        plan.sort_unstable();
        let tally = Mutex::new(Tally::default());
        let (send, receive) = sync_channel::<Case>(4);
        let receive = Arc::new(Mutex::new(receive));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (receive, tally) = (Arc::clone(&receive), &tally);
                scope.spawn(move || open_all(&receive, tally));
            }
            drop(receive);
            let mut rest = plan.iter().peekable();
            self.play(|disk, promise, number| {
                while let Some((_, kind)) = rest.next_if(|(at, _)| *at == number) {
                    let image = disk.image(&kept(disk, number, *kind));
                    let name = format!("{}, change {number}, {kind:?}", self.name);
                    send.send(Case { image, promise: promise.clone(), name }).unwrap();
                }
            });
            drop(send);
        });
        tally.into_inner().unwrap()
    }
}

/// Which changes are in the image, `number` being the newest.
fn kept(disk: &Disk, number: u64, kind: Kind) -> BTreeMap<u64, Part> {
    let seed = |drawn| number << 8 | drawn;
    let mut rng = ChaCha20Rng::seed_from_u64(seed(if let Kind::Some(drawn) = kind { drawn } else { 0 }));
    let part = |(at, change): (u64, &Change)| {
        let is_write = matches!(change, Change::Write { .. });
        let part = match kind {
            Kind::Before => (at != number).then_some(Part::All),
            Kind::Torn if at == number && is_write => Some(Part::Half),
            Kind::After | Kind::Torn => Some(Part::All),
            Kind::Synced => None,
            Kind::Some(_) => match rng.next_u32() % 5 {
                0 | 1 => Some(Part::All),
                2 if is_write => Some(Part::Blocks(rng.next_u64())),
                _ => None,
            },
        };
        part.map(|part| (at, part))
    };
    disk.unsafe_changes().filter_map(part).collect()
}

/// An image, and what must be found in it.
struct Case {
    image: Image,
    promise: Promise,
    name: String,
}

/// What became of the images.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: usize,
    pub(crate) lost: usize,
    pub(crate) silent: usize,
    pub(crate) panics: usize,
    pub(crate) refused: usize,
    pub(crate) false_alarms: usize,
    /// The first of what went wrong, in words.
    pub(crate) wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, name: &str, verdict: &Verdict) {
        self.opened += 1;
        let (count, what) = match verdict {
            Verdict::Kept => return,
            Verdict::Lost(what) => (&mut self.lost, what),
            Verdict::Silent(what) => (&mut self.silent, what),
            Verdict::Panic(what) => (&mut self.panics, what),
            Verdict::Refused(what) => (&mut self.refused, what),
            Verdict::FalseAlarm(what) => (&mut self.false_alarms, what),
        };
        *count += 1;
        if self.wrong.len() < 20 {
            self.wrong.push(format!("{name}: {what}"));
        }
    }

    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.lost += other.lost;
        self.silent += other.silent;
        self.panics += other.panics;
        self.refused += other.refused;
        self.false_alarms += other.false_alarms;
        self.wrong.extend(other.wrong);
    }

    /// How many images were not what they had to be.
    pub(crate) fn bad(&self) -> usize {
        self.lost + self.silent + self.panics + self.refused + self.false_alarms
    }
}

fn open_all(cases: &Mutex<Receiver<Case>>, tally: &Mutex<Tally>) {
    let mut opened = 0_u64;
    loop {
        let next = cases.lock().unwrap().recv();
        let Ok(case) = next else { return };
        opened += 1;
        let root = directory();
        case.image.write(root.path());
        let verdict = open(root.path(), &case.promise, opened.is_multiple_of(4));
        tally.lock().unwrap().count(&case.name, &verdict);
    }
}

/// Starts the store of an image, and goes on with it if that is wanted.
pub(crate) fn open(root: &Path, promise: &Promise, go_on: bool) -> Verdict {
    unless_it_panics(|| {
        let (mut store, loaded) = match start(root) {
            Ok(started) => started,
            Err(error) => return Verdict::Refused(error.to_string()),
        };
        match promise.judge(&loaded) {
            Verdict::Kept if go_on => append_and_look(root, &mut store, loaded),
            verdict => verdict,
        }
    })
}

fn unless_it_panics(open: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|panic| Verdict::Panic(format!("{:?}", panic.downcast_ref::<String>())))
}

/// Appends one more record, and looks for it in a copy, as after a process that was killed right then.
fn append_and_look(root: &Path, store: &mut SledStore, mut loaded: Loaded) -> Verdict {
    let next = loaded.next_commit();
    let appended = wait(store.append(&[record(next)])).and_then(|()| {
        let copy = directory();
        copy_dir(root, copy.path());
        Ok(start(copy.path())?.1)
    });
    loaded.records.push(record(next));
    loaded.health = Health::Whole;
    match appended {
        Ok(after) if after == loaded => Verdict::Kept,
        Ok(after) => Verdict::Lost(format!("record {next}, which came after: {after:?}")),
        Err(error) => Verdict::Refused(format!("record {next}, which came after: {error}")),
    }
}

/// Opens `wanted` images, half of them of the script itself, and says what became of them.
fn open_images(mut others: Vec<Recorded>, wanted: usize) -> Tally {
    let mut tally = Tally::default();
    let share = wanted / 2 / others.len();
    others.drain(..).for_each(|recorded| tally.add(recorded.open(share)));
    let rest = wanted - tally.opened;
    tally.add(Recorded::script(OPERATIONS).open(rest));
    println!(
        "crash images: {} opened, acknowledged operations lost: {}, panics: {}, silent rollbacks: {}",
        tally.opened,
        tally.lost + tally.silent,
        tally.panics,
        tally.silent,
    );
    for (name, count) in [
        ("crash_images", tally.opened),
        ("crash_operations_lost", tally.lost + tally.silent),
        ("crash_panics", tally.panics),
        ("crash_silent_rollbacks", tally.silent),
    ] {
        println!("{name} {count}");
    }
    tally
}

#[test]
fn power_that_goes_at_any_moment_costs_nothing_that_was_acknowledged() {
    let tally = match std::env::var(IMAGES) {
        Ok(wanted) => open_images(Recorded::all_others(), wanted.parse().unwrap()),
        Err(_) => open_images(Recorded::some_others(), FEW),
    };
    assert!(tally.opened >= FEW, "{tally:#?}");
    assert_eq!(tally.bad(), 0, "{tally:#?}");
}

#[test]
fn a_panic_is_counted_and_ends_nothing() {
    let mut tally = Tally::default();
    tally.count("planted", &unless_it_panics(|| panic!("this is {}", "planted")));
    tally.count("harmless", &unless_it_panics(|| Verdict::Kept));
    assert_eq!((tally.opened, tally.panics, tally.bad()), (2, 1, 1));
}
