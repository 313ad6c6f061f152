//! What every engine must do with runs: the part of the suite that needs two engines.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::tempdir;

use super::{Batch, Content, Engine, Family, Ranges, Run};
use crate::types::Kind;

type Open<'a> = &'a dyn Fn() -> Arc<dyn Engine>;
type Pairs = Vec<(Family, Bytes, Bytes)>;

const BOTH: [Family; 2] = [Family::Data, Family::Meta];

/// Runs every check, on new engines that `open` makes.
pub(super) fn suite(open: Open<'_>) {
    type Check = (&'static str, fn(Open<'_>));
    let checks: &[Check] = &[
        ("what is exported can be imported", everything_arrives),
        ("a part without pairs is a part too", empty_parts),
        ("an export shows the moment of its view", export_is_isolated),
        ("an import shows only to later views", import_is_isolated),
        ("an import can be repeated", import_repeats),
        ("an import is durable", import_is_durable),
        ("runs that are not as they should be are refused", wrong_runs),
    ];
    for (name, check) in checks {
        println!("check: {name}");
        check(open);
    }
    println!("check: random parts against a model");
    model(open);
}

fn bounds(start: &[u8], end: &[u8]) -> Range<Vec<u8>> {
    start.to_vec()..end.to_vec()
}

/// The part that most checks move.
fn part() -> Ranges {
    vec![(Family::Data, bounds(b"m", b"n")), (Family::Meta, bounds(b"m", b"n"))]
}

fn put(engine: &dyn Engine, pairs: &[(Family, &[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (family, key, value) in pairs {
        batch.put(*family, key.to_vec(), value.to_vec());
    }
    engine.write(&batch).unwrap();
}

fn all(engine: &dyn Engine) -> Pairs {
    let view = engine.view().unwrap();
    let scan = |family| {
        let range = bounds(b"", &[0xFF; 64]);
        let pairs = view.scan(family, range, false, usize::MAX, usize::MAX).unwrap();
        pairs.into_iter().map(move |(key, value)| (family, key, value))
    };
    BOTH.into_iter().flat_map(scan).collect()
}

fn inside(ranges: &Ranges, family: Family, key: &[u8]) -> bool {
    ranges.iter().any(|(of, range)| *of == family && *range.start <= *key && *key < *range.end)
}

fn export(engine: &dyn Engine, ranges: &Ranges, dir: &Path) -> Vec<Run> {
    let runs = engine.export(engine.view().unwrap(), ranges.clone(), dir);
    runs.collect::<Result<_, _>>().unwrap()
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// An engine with a part that has all kinds of pairs, and with some outside of it.
fn source(open: Open<'_>) -> Arc<dyn Engine> {
    let engine = open();
    put(
        engine.as_ref(),
        &[
            (Family::Data, b"l\xFF\xFF", b"just below"),
            (Family::Data, b"m", b"the first"),
            (Family::Data, b"m\0", b""),
            (Family::Data, b"m\0\0\xFF", b"binary"),
            (Family::Data, b"m deleted", b"by the next batch"),
            (Family::Data, b"m\xFF\xFF\xFF", b"the last"),
            (Family::Data, b"n", b"just above"),
            (Family::Meta, b"m", b"meta"),
            (Family::Meta, b"z", b"meta outside"),
        ],
    );
    let mut batch = Batch::new();
    batch.delete(Family::Data, "m deleted");
    batch.put(Family::Data, "m largest", noise(1, 8 * 1024 * 1024));
    for number in 0..2_500_u32 {
        let key = [b"m many ".as_slice(), &number.to_be_bytes()].concat();
        batch.put(Family::Data, key, noise(number.into(), 1_000));
    }
    engine.write(&batch).unwrap();
    engine
}

/// An engine with other pairs in the part and around it.
fn target(open: Open<'_>) -> Arc<dyn Engine> {
    let engine = open();
    let old: &[(Family, &[u8], &[u8])] = &[
        (Family::Data, b"a", b"stays"),
        (Family::Data, b"l\xFF", b"stays"),
        (Family::Data, b"m\0", b"replaced"),
        (Family::Data, b"m old", b"gone"),
        (Family::Data, b"n", b"stays"),
        (Family::Meta, b"m old", b"gone"),
        (Family::Meta, b"n", b"stays"),
    ];
    put(engine.as_ref(), old);
    engine.flush().unwrap();
    put(engine.as_ref(), &[(Family::Data, b"m older", b"gone, and never flushed")]);
    engine
}

fn last() -> Batch {
    let mut last = Batch::new();
    last.put(Family::Meta, "m last", "put last");
    last.put(Family::Meta, "y", "put last, outside");
    last
}

/// What the target holds after the part of the source has come.
fn merged(source: &Pairs, target: &Pairs, ranges: &Ranges, last: &Batch) -> Pairs {
    let kept = target.iter().filter(|(family, key, _)| !inside(ranges, *family, key));
    let come = source.iter().filter(|(family, key, _)| inside(ranges, *family, key));
    let pairs = kept.chain(come).map(|(family, key, value)| ((*family, key.clone()), value));
    let mut merged: BTreeMap<_, _> = pairs.map(|(key, value)| (key, value.clone())).collect();
    for operation in last.operations() {
        let super::Operation::Put { family, key, value } = operation else { continue };
        merged.insert((*family, key.clone()), value.clone());
    }
    merged.into_iter().map(|((family, key), value)| (family, key, value)).collect()
}

fn contents(runs: &[Run]) -> Vec<Bytes> {
    let read = |run: &Run| match &run.content {
        Content::File { path, .. } => Bytes::from(fs::read(path).unwrap()),
        Content::Memory(bytes) => bytes.clone(),
    };
    runs.iter().map(read).collect()
}

fn everything_arrives(open: Open<'_>) {
    let (source, target, dir) = (source(open), target(open), tempdir().unwrap());
    let expected = merged(&all(source.as_ref()), &all(target.as_ref()), &part(), &last());
    let mut runs = export(source.as_ref(), &part(), dir.path());
    assert!(runs.len() > 1, "{runs:?}");
    assert!(runs.iter().map(Run::bytes).sum::<u64>() > 10_000_000);
    let before = contents(&runs);
    for (run, content) in runs.iter().zip(&before) {
        assert_eq!(run.bytes(), content.len() as u64);
    }
    runs.reverse(); // The order is of no account.
    target.import(&part(), &runs, &last()).unwrap();
    assert!(all(target.as_ref()) == expected, "other pairs than expected");
    runs.reverse();
    assert!(contents(&runs) == before, "the runs have changed");
    // They are the caller's, and nobody misses them.
    drop(dir);
    assert!(all(target.as_ref()) == expected);
    let missing = target.get(Family::Data, b"m old").unwrap();
    assert_eq!(missing, None);
    put(target.as_ref(), &[(Family::Data, b"m old", b"new")]);
    assert_eq!(target.get(Family::Data, b"m old").unwrap().unwrap(), "new");
}

fn empty_parts(open: Open<'_>) {
    let (target, dir) = (target(open), tempdir().unwrap());
    let empty = open();
    let mut ranges = part();
    ranges.push((Family::Data, bounds(b"x", b"x")));
    ranges.push((Family::Data, bounds(b"z", b"y")));
    assert_eq!(export(empty.as_ref(), &ranges, dir.path()), []);
    let expected = merged(&Vec::new(), &all(target.as_ref()), &part(), &Batch::new());
    target.import(&ranges, &[], &Batch::new()).unwrap();
    assert_eq!(all(target.as_ref()), expected);
    target.import(&[], &[], &last()).unwrap();
    assert_eq!(target.get(Family::Meta, b"y").unwrap().unwrap(), "put last, outside");
    empty.import(&ranges, &[], &Batch::new()).unwrap();
    assert_eq!(all(empty.as_ref()), []);
}

fn export_is_isolated(open: Open<'_>) {
    let (source, target, dir) = (source(open), open(), tempdir().unwrap());
    let expected = merged(&all(source.as_ref()), &Vec::new(), &part(), &Batch::new());
    let mut runs = source.export(source.view().unwrap(), part(), dir.path());
    let mut exported = vec![runs.next().unwrap().unwrap()];
    put(
        source.as_ref(),
        &[
            (Family::Data, b"m", b"changed"),
            (Family::Data, b"m new", b"new"),
            (Family::Meta, b"m", b"changed"),
        ],
    );
    source.flush().unwrap();
    let mut batch = Batch::new();
    batch.delete_range(Family::Data, bounds(b"m many", b"n"));
    source.write(&batch).unwrap();
    source.flush().unwrap();
    exported.extend(runs.map(|run| run.unwrap()));
    target.import(&part(), &exported, &Batch::new()).unwrap();
    assert!(all(target.as_ref()) == expected, "other pairs than the view's");
}

fn import_is_isolated(open: Open<'_>) {
    let (source, target, dir) = (source(open), target(open), tempdir().unwrap());
    let view = target.view().unwrap();
    let runs = export(source.as_ref(), &part(), dir.path());
    target.import(&part(), &runs, &last()).unwrap();
    let old = view.scan(Family::Data, bounds(b"m", b"n"), false, usize::MAX, usize::MAX).unwrap();
    let keys: Vec<_> = old.iter().map(|(key, _)| key.as_ref()).collect();
    assert_eq!(keys, [b"m\0".as_slice(), b"m old", b"m older"]);
    assert_eq!(old[0].1, "replaced");
    assert_eq!(view.get(Family::Meta, b"y").unwrap(), None);
    assert_eq!(target.get(Family::Data, b"m\0").unwrap().unwrap(), "");
}

fn import_repeats(open: Open<'_>) {
    let (source, target, dir) = (source(open), target(open), tempdir().unwrap());
    let expected = merged(&all(source.as_ref()), &all(target.as_ref()), &part(), &last());
    let runs = export(source.as_ref(), &part(), dir.path());
    for _ in 0..3 {
        target.import(&part(), &runs, &last()).unwrap();
        assert!(all(target.as_ref()) == expected, "other pairs than expected");
        // As if it had been broken off in the middle of something.
        put(target.as_ref(), &[(Family::Data, b"m", b"half"), (Family::Meta, b"m\xFF", b"half")]);
    }
    let (again, other) = (export(target.as_ref(), &part(), dir.path()), open());
    other.import(&part(), &again, &Batch::new()).unwrap();
    assert_eq!(other.get(Family::Data, b"m").unwrap().unwrap(), "half");
    assert_eq!(other.get(Family::Meta, b"m last").unwrap().unwrap(), "put last");
    // What was exported first was not touched by what was exported later into the same directory.
    assert_eq!(target.get(Family::Data, b"m").unwrap().unwrap(), "half");
    let largest = target.get(Family::Data, b"m largest").unwrap().unwrap();
    assert!(largest == noise(1, 8 * 1024 * 1024), "an imported value has changed");
}

fn import_is_durable(open: Open<'_>) {
    let (source, target, dir) = (source(open), target(open), tempdir().unwrap());
    let runs = export(source.as_ref(), &part(), dir.path());
    target.import(&part(), &runs, &last()).unwrap();
    let persisted = |family, key: &[u8]| target.get_persisted(family, key).unwrap();
    assert_eq!(persisted(Family::Data, b"m").unwrap(), "the first");
    assert_eq!(persisted(Family::Data, b"m old"), None);
    assert_eq!(persisted(Family::Meta, b"m last").unwrap(), "put last");
}

/// A run whose content is changed, under another name if it is a file.
fn changed(run: &Run, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Run {
    let mut bytes = contents(std::slice::from_ref(run)).remove(0).to_vec();
    change(&mut bytes);
    let content = match &run.content {
        Content::File { path, .. } => {
            let path = path.with_file_name(name);
            fs::write(&path, &bytes).unwrap();
            Content::File { path, bytes: bytes.len() as u64 }
        }
        Content::Memory(_) => Content::Memory(bytes.into()),
    };
    Run { family: run.family, content }
}

fn wrong_runs(open: Open<'_>) {
    let (source, target, dir) = (source(open), target(open), tempdir().unwrap());
    let before = all(target.as_ref());
    let refused = |what: &str, ranges: &Ranges, runs: &[Run]| {
        let error = target.import(ranges, runs, &last()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "{what}: {error:?}");
        println!("  {what}: {error}");
        assert!(all(target.as_ref()) == before, "{what}: something has changed");
    };
    let mut runs = export(source.as_ref(), &part(), dir.path());
    runs.sort_by_key(|run| std::cmp::Reverse(run.bytes()));
    let with = |run: Run| [&runs[1..], &[run]].concat();
    let run = &runs[0];

    let length = run.bytes() as usize;
    for at in [0, 100, length / 2, length - 20] {
        let damaged = changed(run, "flipped", |bytes| bytes[at] ^= 1);
        refused(&format!("a flipped bit at {at}"), &part(), &with(damaged));
    }
    for left in [0, 3, length / 2, length - 1] {
        let damaged = changed(run, "cut", |bytes| bytes.truncate(left));
        refused(&format!("only {left} bytes"), &part(), &with(damaged));
    }
    refused("more bytes", &part(), &with(changed(run, "longer", |bytes| bytes.push(0))));
    let foreign = changed(run, "foreign", |bytes| *bytes = noise(9, 10_000));
    refused("noise", &part(), &with(foreign));

    let narrow = vec![(Family::Data, bounds(b"m", b"m z")), part().remove(1)];
    refused("a key behind the range", &narrow, &runs);
    let narrow = vec![(Family::Data, bounds(b"m\0", b"n")), part().remove(1)];
    refused("a key before the range", &narrow, &runs);
    let gap = vec![
        (Family::Data, bounds(b"m", b"m largest")),
        (Family::Data, bounds(b"m largest\0", b"n")),
        part().remove(1),
    ];
    refused("a key between the ranges", &gap, &runs);
    refused("a range of the other family", &part()[1..].to_vec(), &runs);
    refused("the same run twice", &part(), &[&runs[..], &runs[..1]].concat());

    let other_kind = match &run.content {
        Content::File { .. } => Content::Memory(Bytes::from(fs::read(file(run)).unwrap())),
        Content::Memory(bytes) => {
            let path = dir.path().join("file");
            fs::write(&path, bytes).unwrap();
            Content::File { path, bytes: bytes.len() as u64 }
        }
    };
    let other = Run { family: run.family, content: other_kind };
    refused("a run of another kind of engine", &part(), &with(other));
    let missing = Content::File { path: dir.path().join("missing"), bytes: 10 };
    refused("a missing file", &part(), &with(Run { family: run.family, content: missing }));
    target.import(&part(), &runs, &last()).unwrap();
}

fn file(run: &Run) -> &Path {
    match &run.content {
        Content::File { path, .. } => path,
        Content::Memory(_) => panic!("not a file"),
    }
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xFF)], 0..4)
}

fn any_pairs() -> impl Strategy<Value = Vec<(bool, Vec<u8>, Vec<u8>)>> {
    vec((any::<bool>(), any_key(), vec(any::<u8>(), 0..8)), 0..30)
}

fn model(open: Open<'_>) {
    // Ranges between neighbouring bounds do not overlap.
    let parts = (vec(any_key(), 0..6), vec(any_key(), 0..4));
    let mut runner =
        TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    runner
        .run(&(any_pairs(), any_pairs(), parts), |(here, there, (data, meta))| {
            let (source, target, dir) = (open(), open(), tempdir().unwrap());
            for (engine, pairs) in [(&source, &here), (&target, &there)] {
                let mut batch = Batch::new();
                for (data, key, value) in pairs {
                    let family = if *data { Family::Data } else { Family::Meta };
                    batch.put(family, key.clone(), value.clone());
                }
                engine.write(&batch).unwrap();
            }
            let mut ranges = Ranges::new();
            for (family, mut bounds) in [(Family::Data, data), (Family::Meta, meta)] {
                bounds.sort();
                let pairs = bounds.chunks_exact(2);
                ranges.extend(pairs.map(|pair| (family, pair[0].clone()..pair[1].clone())));
            }
            let expected =
                merged(&all(source.as_ref()), &all(target.as_ref()), &ranges, &Batch::new());
            let runs = export(source.as_ref(), &ranges, dir.path());
            target.import(&ranges, &runs, &Batch::new()).unwrap();
            prop_assert_eq!(all(target.as_ref()), expected);
            Ok(())
        })
        .unwrap();
}
