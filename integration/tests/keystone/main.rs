//! Tables 2 and 3 of Keystone (KS 4.1) come out of the functions with which a manager sizes its parity.

use protocol::{message_loss, parity_for_message};

/// Table 2: by loss in percent and repair units per unit in halves, P_m in thousandths for 1 to 10 units.
const LOST: [(u16, u16, [u16; 10]); 6] = [
    (10, 0, [100, 190, 271, 344, 410, 469, 522, 570, 613, 651]),
    (10, 1, [10, 28, 9, 16, 5, 8, 3, 4, 1, 2]),
    (10, 2, [10, 4, 1, 0, 0, 0, 0, 0, 0, 0]),
    (20, 0, [200, 360, 488, 590, 672, 738, 790, 832, 866, 893]),
    (20, 1, [40, 104, 58, 99, 56, 86, 50, 73, 44, 61]),
    (20, 2, [40, 27, 17, 10, 6, 4, 2, 1, 1, 1]),
];

/// Table 3: by loss in percent, the repair units of "rs1" and "rs2" for 1 to 15 units.
const REPAIR_UNITS: [(u16, [u16; 15]); 2] = [
    (10, [2, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 7]),
    (20, [4, 5, 6, 6, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12]),
];

fn share(percent: u16) -> f64 {
    f64::from(percent) / 100.0
}

#[test]
fn table_2_the_probability_that_a_message_is_lost() {
    for (percent, halves, row) in LOST {
        for (units, printed) in (1..).zip(row) {
            let parity = (units * halves).div_ceil(2);
            let computed = 1_000.0 * message_loss(units, parity, share(percent));
            let printed = f64::from(printed);
            assert!(
                (computed.round() - printed).abs() < 0.5,
                "s = {units}, r = {parity}, p = {percent} %: {computed:.3} against {printed} thousandths"
            );
        }
    }
}

#[test]
fn table_3_the_repair_units_that_keep_the_loss_of_a_message_at_a_thousandth() {
    for (percent, row) in REPAIR_UNITS {
        for (units, printed) in (1..).zip(row) {
            let computed = parity_for_message(units, share(percent), 0.001, 100);
            assert_eq!(computed, printed, "s = {units}, p = {percent} %");
        }
    }
}
