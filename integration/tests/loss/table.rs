//! The table of `docs/loss-table.md` is what the program does.

use std::path::Path;

use integration::loss::{Batch, Drill, Limits, Row, TABLE_RATES, heading};

/// A smaller part of what the page was made from; `loss` remakes the page itself.
const PART: Drill = Drill { seed: 1, members: 1_000, loss: 0, epochs: 1 };
/// The rates measured anew: each costs several seconds.
const RATES: [u32; 3] = [0, 10, 40];

/// Where the figures stand in a row.
const P99: usize = 6;
const BYTES: usize = 8;

/// The table's lines, cut into cells, without the heading.
fn written() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loss-table.md");
    let page = std::fs::read_to_string(page).expect("docs/loss-table.md is there");
    let (_, table) = page.split_once("<!-- table: loss -->\n").expect("it has the table");
    let lines: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(lines[..2].join("\n"), heading(), "the columns are what the program prints");
    lines[2..].iter().map(|line| cells(line)).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn figure(cells: &[String], column: usize) -> f64 {
    cells[column].parse().expect("a figure")
}

#[test]
fn the_page_has_a_row_for_each_rate_and_kind() {
    let named: Vec<_> = written().iter().map(|row| (row[0].clone(), row[2].clone())).collect();
    let kinds = |rate: u32| Batch::ALL.map(|batch| (rate.to_string(), batch.to_string()));
    assert_eq!(named, TABLE_RATES.into_iter().flat_map(kinds).collect::<Vec<_>>());
    assert!(written().iter().all(|row| row[1] == PART.members.to_string()));
}

/// Everything keeps to its limit but the bytes of one eviction, which say little; bytes and times are near those of the page. Fewer updates than the page has
/// make the figures scatter, and so does any change in what the machines draw.
#[test]
fn what_loss_costs_is_what_the_page_says() {
    let measured: Vec<Row> = std::thread::scope(|scope| {
        let rates = RATES.map(|rate| scope.spawn(move || Row::measure(Drill { loss: rate * 10, ..PART }, 1)));
        rates.into_iter().flat_map(|rate| rate.join().expect("it ran")).collect()
    });
    let written = written();
    for row in measured {
        let limits = Limits::of(row.batch, row.loss);
        let bytes = row.batch == Batch::Eviction || row.bytes <= limits.bytes;
        let prompt = row.waits[1] <= limits.p99 && row.naks.0 <= limits.naks;
        assert!(bytes && prompt && row.without == 0, "{limits:?}: {row}");
        let (now, name) = (cells(&row.to_string()), [row.loss.to_string(), row.batch.to_string()]);
        let page = written.iter().find(|page| page[0] == name[0] && page[2] == name[1]);
        let page = page.expect("each row is on the page");
        let (bytes, p99) = (figure(&now, BYTES) / figure(page, BYTES), figure(&now, P99) - figure(page, P99));
        let scatter = if row.batch == Batch::Eviction { 0.4..2.5 } else { 0.8..1.25 };
        assert!(scatter.contains(&bytes), "bytes: {row}\non the page: {page:?}");
        assert!(p99 <= 500.0, "p99: {row}\non the page: {page:?}");
    }
}
