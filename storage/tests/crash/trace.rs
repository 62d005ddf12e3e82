//! Reads what strace wrote: one call after another, in the order in which they ended.

use std::collections::BTreeMap;

/// One system call that succeeded.
#[derive(Debug)]
pub(crate) struct Call {
    /// The lines of the record at which it began and ended.
    pub(crate) begun: usize,
    pub(crate) ended: usize,
    pub(crate) name: String,
    pub(crate) args: Vec<Argument>,
    pub(crate) result: i64,
}

/// An argument, as strace prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Argument {
    Bytes(Vec<u8>),
    Word(String),
}

impl Argument {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Word(word) => panic!("{word} where bytes were due"),
        }
    }

    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Bytes(_) => panic!("bytes where a word was due"),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.word().parse().unwrap()
    }
}

/// The calls that succeeded. A call that was interrupted by others stands where it ended.
pub(crate) fn parse(record: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line, text) in record.lines().enumerate() {
        let (thread, text) = text.split_once(' ').unwrap();
        let text = text.trim_start();
        if text.starts_with("+++") {
            continue;
        }
        if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (line, begin));
            continue;
        }
        let call = if let Some(resumed) = text.strip_prefix("<... ") {
            let (begun, begin) = unfinished.remove(thread).unwrap();
            let (_, end) = resumed.split_once("resumed>").unwrap();
            one(begun, line, &format!("{begin}{end}"))
        } else {
            one(line, line, text)
        };
        calls.extend(call);
    }
    calls
}

fn one(begun: usize, ended: usize, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(').unwrap();
    let (args, result) = rest.rsplit_once(" = ").unwrap();
    // An error, or an exit in the middle of the call.
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let result = result.split_whitespace().next().unwrap();
    let result = match result.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap().cast_signed(),
        None => result.parse().unwrap(),
    };
    let args = args.trim_end().strip_suffix(')').unwrap();
    let args = args.split(", ").map(argument).collect();
    Some(Call { begun, ended, name: name.to_owned(), args, result })
}

/// All strings are in hexadecimal digits, so no comma and no bracket is inside one.
fn argument(text: &str) -> Argument {
    let Some(quoted) = text.strip_prefix('"') else { return Argument::Word(text.to_owned()) };
    let quoted = quoted.strip_suffix('"').expect("the string is longer than strace was told to print");
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    let (bytes, odd) = quoted.as_bytes().as_chunks::<4>();
    assert!(odd.is_empty());
    Argument::Bytes(bytes.iter().map(|[_, _, high, low]| digit(*high) << 4 | digit(*low)).collect())
}

#[test]
fn a_call_that_others_interrupt_stands_where_it_ended() {
    let calls = parse(concat!(
        "7 pwrite64(6, \"\\x01\\xff\", 2, 512 <unfinished ...>\n",
        "8 unlink(\"\\x2f\\x61\") = -1 ENOENT (No such file or directory)\n",
        "8 fsync(6)    = 0\n",
        "7 <... pwrite64 resumed>)   = 2\n",
        "8 +++ exited with 0 +++\n",
    ));
    let names: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.begun, call.ended)).collect();
    assert_eq!(names, [("fsync", 2, 2), ("pwrite64", 0, 3)]);
    assert_eq!((calls[1].args[1].bytes(), calls[1].args[3].number()), (&[1, 255][..], 512));
}
