use std::os::unix::fs::MetadataExt;

use super::*;

const MIB: u64 = 1 << 20;

fn reserve(dir: &Path, wanted: u64) -> Reserve {
    Reserve { path: dir.join(RESERVE), wanted }
}

#[test]
fn room_is_held_back_for_real() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = reserve(dir.path(), 4 * MIB);
    assert_eq!(reserve.look().unwrap(), Level::Plenty);
    let held = fs::metadata(&reserve.path).unwrap();
    assert_eq!(held.len(), 4 * MIB);
    assert!(held.blocks() * 512 >= 4 * MIB, "it takes up room: {} blocks", held.blocks());
    assert_eq!(reserve.look().unwrap(), Level::Plenty);
    // Somebody cleared up by hand: it is held back again.
    fs::remove_file(&reserve.path).unwrap();
    assert_eq!(reserve.look().unwrap(), Level::Plenty);
    assert_eq!(fs::metadata(&reserve.path).unwrap().len(), 4 * MIB);
}

#[test]
fn without_room_for_what_is_held_back_room_is_low() {
    let dir = tempfile::tempdir().unwrap();
    let (free, size) = room(dir.path()).unwrap();
    assert!(free <= size);
    let greedy = reserve(dir.path(), 2 * size);
    assert_eq!(greedy.look().unwrap(), Level::Low);
    assert!(!greedy.path.exists());
    // And when it was held back, it is given back.
    File::create(&greedy.path).unwrap().set_len(2 * size).unwrap();
    assert_eq!(greedy.look().unwrap(), Level::Low);
    assert!(!greedy.path.exists());
}

#[test]
fn without_a_reserve_the_room_is_watched_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(reserve(dir.path(), 0).look().unwrap(), Level::Plenty);
}

#[test]
fn a_full_log_is_worse_than_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, level) = watch::channel(Level::Plenty);
    let (of_room, room) = watch::channel(None);
    let reserve_of = |bytes| Some(reserve(dir.path(), bytes));
    let mut keeper =
        Keeper { reserve: reserve_of(MIB), level: sender, room: of_room, silent: false };
    let space = Space { level, room };
    space.admit(false).unwrap();
    keeper.look(true);
    assert_eq!(space.level(), Level::Out);
    assert_eq!(space.admit(false).unwrap_err().kind(), Kind::StorageFull);
    assert_eq!(space.admit(true).unwrap_err().kind(), Kind::StorageFull);
    keeper.look(false);
    space.admit(false).unwrap();
    assert!(space.room().is_some_and(|room| room > 0));
    keeper.reserve = reserve_of(u64::MAX / 2);
    keeper.look(false);
    assert_eq!(space.room(), Some(0), "all there is would be held back");
    assert_eq!(space.level(), Level::Low);
    assert_eq!(space.admit(false).unwrap_err().kind(), Kind::StorageFull);
    space.admit(true).unwrap();
}
