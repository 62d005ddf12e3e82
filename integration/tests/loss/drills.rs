//! A drill is what it says it is.

use integration::loss::{Batch, Drill, Row};

const DRILL: Drill = Drill { seed: 7, members: 60, loss: 200, epochs: 2 };

#[test]
fn the_same_seed_gives_the_same_rows_and_another_one_others() {
    let rows = Row::measure(DRILL, 1);
    assert_eq!(rows, Row::measure(DRILL, 1));
    assert_ne!(rows, Row::measure(Drill { seed: 8, ..DRILL }, 1));
}

#[test]
fn without_loss_everybody_holds_each_key_at_once_and_nobody_asks() {
    let rows = Row::measure(Drill { loss: 0, ..DRILL }, 1);
    assert_eq!(rows.each_ref().map(|row| row.batch), Batch::ALL);
    for row in rows {
        let [.., last] = row.waits;
        assert!(row.without == 0 && row.by_unicast == 0 && last.as_millis() < 2, "{row}");
    }
}

#[test]
fn where_everything_is_lost_nobody_gets_a_key() {
    for row in Row::measure(Drill { loss: 1_000, members: 20, epochs: 1, ..DRILL }, 1) {
        assert!(row.waits[2].is_zero() && !row.holds(), "{row}");
    }
}
