//! What every engine must do: one suite, called by the tests of each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Batch, Engine, Family, View};

type Pairs = Vec<(Bytes, Bytes)>;

/// Runs every check, each on a new engine that `open` makes.
pub(super) fn suite(open: impl Fn() -> Arc<dyn Engine>) {
    type Check = (&'static str, fn(&dyn Engine));
    let checks: &[Check] = &[
        ("an empty engine holds nothing", empty_engine),
        ("what is written can be read", written_is_read),
        ("a batch is applied in order", batch_in_order),
        ("a batch is seen whole or not at all", batch_is_atomic),
        ("families are apart", families_are_apart),
        ("a removed range keeps its end and what lies outside", delete_range_bounds),
        ("binary keys sort as bytes", binary_keys),
        ("an empty value is not an absent one", empty_values),
        ("scans start, end and turn where told", scan_bounds),
        ("a scan ends at its limits and can go on", scan_limits),
        ("a view does not change", view_is_isolated),
        ("a flush keeps everything readable", flush_keeps),
        ("size follows the data", size_follows),
    ];
    for (name, check) in checks {
        println!("check: {name}");
        check(open().as_ref());
    }
    println!("check: a view is shared between threads, and outlives its engine");
    view_outlives(open());
    println!("check: random batches against a model");
    model(&open);
    super::conformance_runs::suite(&|| open());
}

fn write(engine: &dyn Engine, build: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    build(&mut batch);
    engine.write(&batch).unwrap();
}

fn everything() -> Range<Vec<u8>> {
    vec![]..vec![0xFF; 64]
}

fn scan(view: &dyn View, family: Family, range: Range<Vec<u8>>, reverse: bool) -> Pairs {
    view.scan(family, range, reverse, usize::MAX, usize::MAX).unwrap()
}

fn keys(pairs: &Pairs) -> Vec<&[u8]> {
    pairs.iter().map(|(key, _)| key.as_ref()).collect()
}

fn get(engine: &dyn Engine, key: &[u8]) -> Option<Bytes> {
    let value = engine.get(Family::Data, key).unwrap();
    assert_eq!(engine.view().unwrap().get(Family::Data, key).unwrap(), value, "view and engine");
    value
}

fn empty_engine(engine: &dyn Engine) {
    assert_eq!(get(engine, b"key"), None);
    assert_eq!(engine.get_persisted(Family::Meta, b"key").unwrap(), None);
    assert_eq!(scan(engine.view().unwrap().as_ref(), Family::Data, everything(), false), []);
    engine.write(&Batch::new()).unwrap();
    engine.flush().unwrap();
}

fn written_is_read(engine: &dyn Engine) {
    write(engine, |batch| batch.put(Family::Data, "key", "one"));
    assert_eq!(get(engine, b"key").unwrap(), "one");
    write(engine, |batch| batch.put(Family::Data, "key", "two"));
    assert_eq!(get(engine, b"key").unwrap(), "two");
    write(engine, |batch| {
        batch.delete(Family::Data, "key");
        batch.delete(Family::Data, "never there");
    });
    assert_eq!(get(engine, b"key"), None);
    let large = vec![0xA5; 8 * 1024 * 1024];
    write(engine, |batch| batch.put(Family::Data, vec![b'k'; 16 * 1024], large.clone()));
    assert_eq!(get(engine, &[b'k'; 16 * 1024]).unwrap(), large);
}

fn batch_in_order(engine: &dyn Engine) {
    write(engine, |batch| {
        batch.put(Family::Data, "a", "first");
        batch.put(Family::Data, "a", "second");
        batch.put(Family::Data, "b", "gone");
        batch.delete(Family::Data, "b");
        batch.put(Family::Data, "c", "before the range");
        batch.delete_range(Family::Data, b"c".to_vec()..b"e".to_vec());
        batch.put(Family::Data, "d", "after the range");
    });
    assert_eq!(get(engine, b"a").unwrap(), "second");
    assert_eq!(get(engine, b"b"), None);
    assert_eq!(get(engine, b"c"), None);
    assert_eq!(get(engine, b"d").unwrap(), "after the range");
}

fn batch_is_atomic(engine: &dyn Engine) {
    write(engine, |batch| number_both(batch, 0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..500 {
                write(engine, |batch| number_both(batch, number));
            }
        });
        loop {
            let finished = writer.is_finished();
            let view = engine.view().unwrap();
            let data = view.get(Family::Data, b"number").unwrap();
            let meta = view.get(Family::Meta, b"number").unwrap();
            assert_eq!(data, meta, "half a batch was seen");
            if finished {
                assert_eq!(data.unwrap(), "499");
                break;
            }
        }
    });
}

fn number_both(batch: &mut Batch, number: u32) {
    batch.put(Family::Data, "number", number.to_string());
    batch.put(Family::Meta, "number", number.to_string());
}

fn families_are_apart(engine: &dyn Engine) {
    write(engine, |batch| {
        batch.put(Family::Data, "key", "data");
        batch.put(Family::Meta, "key", "meta");
        batch.put(Family::Meta, "other", "meta");
    });
    write(engine, |batch| batch.delete_range(Family::Data, everything()));
    assert_eq!(get(engine, b"key"), None);
    assert_eq!(engine.get(Family::Meta, b"key").unwrap().unwrap(), "meta");
    write(engine, |batch| batch.put(Family::Data, "key", "data"));
    let view = engine.view().unwrap();
    let meta = scan(view.as_ref(), Family::Meta, everything(), false);
    assert_eq!(keys(&meta), [b"key".as_ref(), b"other"]);
    assert_eq!(scan(view.as_ref(), Family::Data, everything(), true).len(), 1);
}

fn fill(engine: &dyn Engine, keys: &[&'static [u8]]) {
    write(engine, |batch| keys.iter().for_each(|key| batch.put(Family::Data, *key, *key)));
}

fn delete_range_bounds(engine: &dyn Engine) {
    fill(engine, &[b"a", b"b", b"b\0", b"c", b"d"]);
    write(engine, |batch| {
        batch.delete_range(Family::Data, b"b".to_vec()..b"c".to_vec());
        batch.delete_range(Family::Data, b"d".to_vec()..b"d".to_vec());
        batch.delete_range(Family::Data, b"z".to_vec()..b"a".to_vec());
    });
    let left = scan(engine.view().unwrap().as_ref(), Family::Data, everything(), false);
    assert_eq!(keys(&left), [b"a", b"c", b"d"]);
    write(engine, |batch| batch.put(Family::Data, "b", "again"));
    assert_eq!(get(engine, b"b").unwrap(), "again");
    assert_eq!(get(engine, b"b\0"), None);
}

fn binary_keys(engine: &dyn Engine) {
    let sorted: [&'static [u8]; 7] =
        [b"\0", b"\0\0", b"\x01", b"a", b"\xFE\xFF", b"\xFF", b"\xFF\xFF\xFF"];
    let mut shuffled = sorted;
    shuffled.reverse();
    shuffled.swap(1, 4);
    fill(engine, &shuffled);
    let view = engine.view().unwrap();
    assert_eq!(keys(&scan(view.as_ref(), Family::Data, everything(), false)), sorted);
    for key in sorted {
        assert_eq!(get(engine, key).unwrap(), key);
    }
    let top = scan(view.as_ref(), Family::Data, vec![0xFF]..vec![0xFF; 3], true);
    assert_eq!(keys(&top), [b"\xFF"]);
}

fn empty_values(engine: &dyn Engine) {
    write(engine, |batch| {
        batch.put(Family::Data, "empty", "");
        batch.put(Family::Data, "", "the empty key");
    });
    engine.flush().unwrap();
    assert_eq!(get(engine, b"empty").unwrap(), "");
    assert_eq!(get(engine, b"").unwrap(), "the empty key");
    assert_eq!(engine.get_persisted(Family::Data, b"empty").unwrap().unwrap(), "");
    let all = scan(engine.view().unwrap().as_ref(), Family::Data, everything(), false);
    assert_eq!(keys(&all), [b"".as_ref(), b"empty"]);
}

fn scan_bounds(engine: &dyn Engine) {
    fill(engine, &[b"a", b"b", b"c", b"d"]);
    let view = engine.view().unwrap();
    let between = |start: &[u8], end: &[u8], reverse| {
        let pairs = scan(view.as_ref(), Family::Data, start.to_vec()..end.to_vec(), reverse);
        assert!(pairs.iter().all(|(key, value)| key == value));
        keys(&pairs).concat()
    };
    assert_eq!(between(b"b", b"d", false), b"bc");
    assert_eq!(between(b"b", b"d", true), b"cb");
    assert_eq!(between(b"", b"zz", false), b"abcd");
    assert_eq!(between(b"", b"zz", true), b"dcba");
    assert_eq!(between(b"aa", b"cc", true), b"cb");
    assert_eq!(between(b"e", b"z", true), b"");
    for reverse in [false, true] {
        assert_eq!(between(b"b", b"b", reverse), b"");
        assert_eq!(between(b"c", b"a", reverse), b"", "a range that runs backwards is empty");
    }
}

fn scan_limits(engine: &dyn Engine) {
    write(engine, |batch| {
        for key in b'a'..=b'z' {
            batch.put(Family::Data, vec![key], vec![key; 9]);
        }
    });
    let view = engine.view().unwrap();
    let page = |range, reverse, items, bytes| {
        keys(&view.scan(Family::Data, range, reverse, items, bytes).unwrap()).concat()
    };
    assert_eq!(page(everything(), false, 3, usize::MAX), b"abc");
    assert_eq!(page(everything(), true, 3, usize::MAX), b"zyx");
    assert_eq!(page(everything(), false, 0, usize::MAX), b"");
    assert_eq!(page(everything(), false, 10, 29), b"ab", "the third pair would be too much");
    assert_eq!(page(everything(), false, 10, 30), b"abc");
    assert_eq!(page(everything(), true, 10, 0), b"z", "the first pair always fits");

    let mut all = Vec::new();
    let mut range = everything();
    loop {
        let next = page(range.clone(), false, 4, 35);
        let Some(last) = next.last() else { break };
        range.start = vec![*last, 0];
        all.extend(next);
    }
    assert_eq!(all, (b'a'..=b'z').collect::<Vec<_>>());
    range = everything();
    loop {
        let next = page(range.clone(), true, 4, 35);
        let Some(last) = next.last() else { break };
        range.end = vec![*last];
        all.extend(next.iter().rev());
        let tail = all.len() - next.len();
        all[tail..].reverse();
    }
    assert_eq!(all[26..], (b'a'..=b'z').rev().collect::<Vec<_>>());
}

fn view_is_isolated(engine: &dyn Engine) {
    fill(engine, &[b"a", b"b", b"c"]);
    let view = engine.view().unwrap();
    write(engine, |batch| {
        batch.put(Family::Data, "a", "changed");
        batch.delete(Family::Data, "b");
        batch.put(Family::Data, "bb", "new");
    });
    engine.flush().unwrap();
    write(engine, |batch| batch.delete_range(Family::Data, everything()));
    engine.flush().unwrap();
    assert_eq!(view.get(Family::Data, b"a").unwrap().unwrap(), "a");
    assert_eq!(view.get(Family::Data, b"bb").unwrap(), None);
    for reverse in [false, true] {
        let pairs = scan(view.as_ref(), Family::Data, everything(), reverse);
        assert_eq!(pairs.len(), 3);
        assert!(pairs.iter().all(|(key, value)| key == value));
    }
    assert_eq!(get(engine, b"a"), None);
}

fn view_outlives(engine: Arc<dyn Engine>) {
    fill(engine.as_ref(), &[b"a"]);
    let view = engine.view().unwrap();
    drop(engine);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let view = Arc::clone(&view);
            std::thread::spawn(move || view.get(Family::Data, b"a").unwrap())
        })
        .collect();
    drop(view);
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), "a");
    }
}

fn flush_keeps(engine: &dyn Engine) {
    fill(engine, &[b"a", b"b"]);
    engine.flush().unwrap();
    fill(engine, &[b"c"]);
    write(engine, |batch| batch.delete(Family::Data, "a"));
    assert_eq!(get(engine, b"a"), None);
    assert_eq!(engine.get_persisted(Family::Data, b"b").unwrap().unwrap(), "b");
    let view = engine.view().unwrap();
    assert_eq!(keys(&scan(view.as_ref(), Family::Data, everything(), false)), [b"b", b"c"]);
    engine.flush().unwrap();
    assert_eq!(engine.get_persisted(Family::Data, b"a").unwrap(), None);
    assert_eq!(engine.get_persisted(Family::Data, b"c").unwrap().unwrap(), "c");
}

fn size_follows(engine: &dyn Engine) {
    let mut noise = 1_u64;
    write(engine, |batch| {
        for key in 0..1_000_u32 {
            // Bytes that do not compress: a multiplicative congruential generator.
            let value: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                noise.to_be_bytes()[0]
            })
            .take(1_000)
            .collect();
            batch.put(Family::Data, key.to_be_bytes().to_vec(), value);
        }
    });
    engine.flush().unwrap();
    let size = |start: u32, end: u32| {
        let range = start.to_be_bytes().to_vec()..end.to_be_bytes().to_vec();
        engine.approximate_bytes(Family::Data, range).unwrap()
    };
    let (all, half) = (size(0, 1_000), size(0, 500));
    assert!((800_000..1_500_000).contains(&all), "{all}");
    assert!((all / 4..all * 3 / 4).contains(&half), "{half} of {all}");
    assert_eq!(size(2_000, 3_000), 0);
    assert_eq!(size(7, 7), 0);
    assert_eq!(size(9, 7), 0);
    assert_eq!(engine.approximate_bytes(Family::Meta, everything()).unwrap(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Few enough keys for them to meet, with prefixes of each other among them.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xFF)], 0..4)
}

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![3 => Just(Family::Data), 1 => Just(Family::Meta)]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any_family(), any_key(), vec(any::<u8>(), 0..20))
            .prop_map(|(family, key, value)| Step::Put(family, key, value)),
        2 => (any_family(), any_key()).prop_map(|(family, key)| Step::Delete(family, key)),
        1 => (any_family(), any_key(), any_key())
            .prop_map(|(family, start, end)| Step::DeleteRange(family, start, end)),
    ]
}

type Model = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn model(open: &impl Fn() -> Arc<dyn Engine>) {
    let batches = vec((vec(any_step(), 0..12), any::<bool>()), 1..12);
    let reads = vec((any_family(), any_key(), any_key(), any::<bool>(), 0..10_usize), 8);
    let mut runner =
        TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    runner
        .run(&(batches, reads), |(batches, reads)| {
            let engine = open();
            let mut model = Model::new();
            let mut views = vec![(engine.view().unwrap(), model.clone())];
            for (steps, flush) in batches {
                let mut batch = Batch::new();
                for step in steps {
                    apply(step, &mut batch, &mut model);
                }
                engine.write(&batch).unwrap();
                if flush {
                    engine.flush().unwrap();
                    for ((family, key), value) in &model {
                        let persisted = engine.get_persisted(*family, key).unwrap();
                        prop_assert_eq!(persisted.as_deref(), Some(value.as_slice()));
                    }
                }
                views.push((engine.view().unwrap(), model.clone()));
            }
            for (view, model) in &views {
                for read in &reads {
                    compare(view.as_ref(), model, read)?;
                }
            }
            for (family, key, ..) in &reads {
                let expected = model.get(&(*family, key.clone())).map(Vec::as_slice);
                let value = engine.get(*family, key).unwrap();
                prop_assert_eq!(value.as_deref(), expected);
            }
            Ok(())
        })
        .unwrap();
}

fn apply(step: Step, batch: &mut Batch, model: &mut Model) {
    match step {
        Step::Put(family, key, value) => {
            model.insert((family, key.clone()), value.clone());
            batch.put(family, key, value);
        }
        Step::Delete(family, key) => {
            model.remove(&(family, key.clone()));
            batch.delete(family, key);
        }
        Step::DeleteRange(family, start, end) => {
            let range = start..end;
            model.retain(|(of, key), _| *of != family || !range.contains(key));
            batch.delete_range(family, range);
        }
    }
}

fn compare(
    view: &dyn View,
    model: &Model,
    (family, start, end, reverse, limit): &(Family, Vec<u8>, Vec<u8>, bool, usize),
) -> Result<(), TestCaseError> {
    let inside = |key: &Vec<u8>| (start..end).contains(&key);
    let mut expected: Pairs = model
        .iter()
        .filter(|((of, key), _)| of == family && inside(key))
        .map(|((_, key), value)| (Bytes::from(key.clone()), Bytes::from(value.clone())))
        .collect();
    if *reverse {
        expected.reverse();
    }
    let range = start.clone()..end.clone();
    let all = view.scan(*family, range.clone(), *reverse, usize::MAX, usize::MAX).unwrap();
    prop_assert_eq!(&all, &expected);
    let some = view.scan(*family, range, *reverse, *limit, usize::MAX).unwrap();
    prop_assert_eq!(&some[..], &expected[..expected.len().min(*limit)]);
    let one = model.get(&(*family, start.clone())).map(Vec::as_slice);
    let value = view.get(*family, start).unwrap();
    prop_assert_eq!(value.as_deref(), one);
    Ok(())
}
