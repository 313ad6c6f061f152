//! The layer that loses power keeps what was synced, and nothing else.
//!
//! Each test is two programs: it runs itself again under the layer, where it works on files and ends
//! without a word, as by SIGKILL; then it cuts the power and looks at what is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::{Power, eventually};
use tempfile::TempDir;

/// A power supply, and the directory on it.
struct Scene {
    _scratch: TempDir,
    power: Power,
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        let power = Power::new(&scratch.path().join("power"));
        Scene { _scratch: scratch, power }
    }

    /// Runs the named test again, under the layer.
    fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.envs(self.power.environment()).env("ON_POWER", self.power.data_dir());
        command.stdout(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, test: &str) {
        let ran = self.command(test).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ran.status.code(), Some(7), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        match fs::read(self.power.data_dir().join(name)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// The directory to work in, in the program that runs under the layer.
fn on_power() -> Option<PathBuf> {
    std::env::var_os("ON_POWER").map(PathBuf::from)
}

/// Ends the program under the layer: all it was to do is done.
fn done() -> ! {
    std::process::exit(7)
}

fn sync_names(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}

#[test]
fn bytes_and_names_are_kept_when_they_were_synced() {
    if let Some(dir) = on_power() {
        let mut file = File::create(dir.join("both")).unwrap();
        file.write_all(b"synced").unwrap();
        file.sync_data().unwrap();
        file.write_all(b" and not").unwrap();
        File::create(dir.join("name alone")).unwrap().write_all(b"bytes").unwrap();
        sync_names(&dir);
        let mut file = File::create(dir.join("bytes alone")).unwrap();
        file.write_all(b"bytes").unwrap();
        file.sync_all().unwrap();
        done();
    }
    let scene = Scene::new();
    scene.run("bytes_and_names_are_kept_when_they_were_synced");
    scene.power.cut();
    assert_eq!(scene.read("both").unwrap(), b"synced");
    assert_eq!(scene.read("name alone").unwrap(), b"");
    assert_eq!(scene.read("bytes alone"), None);
}

#[test]
fn every_kind_of_write_is_seen() {
    if let Some(dir) = on_power() {
        let path = dir.join("file");
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        file.write_all_at(b"abc", 20).unwrap();
        file.write_all_at(b"xy", 2).unwrap();
        file.seek(SeekFrom::Start(8)).unwrap();
        file.write_all(b"__").unwrap();
        let parts = [std::io::IoSlice::new(b"!!"), std::io::IoSlice::new(b"??")];
        assert_eq!(file.write_vectored(&parts).unwrap(), 4);
        file.sync_data().unwrap();
        // The second sync has to copy what lies between, and no more.
        file.write_all_at(b"ZZ", 0).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"end").unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        fs::copy(&path, dir.join("copy")).unwrap();
        File::open(dir.join("copy")).unwrap().sync_all().unwrap();
        sync_names(&dir);
        done();
    }
    let scene = Scene::new();
    scene.run("every_kind_of_write_is_seen");
    let written = scene.read("file").unwrap();
    assert_eq!(written, b"ZZxy4567__!!??\0\0\0\0\0\0abcend");
    scene.power.cut();
    assert_eq!(scene.read("file").unwrap(), written);
    assert_eq!(scene.read("copy").unwrap(), written);
}

#[test]
fn what_is_cut_off_comes_back_as_zeroes_only() {
    if let Some(dir) = on_power() {
        for (name, synced) in [("synced", true), ("not", false)] {
            let file = OpenOptions::new().write(true).open(dir.join(name)).unwrap();
            file.set_len(2).unwrap();
            file.set_len(6).unwrap();
            file.write_all_at(b"!", 4).unwrap();
            if synced {
                file.sync_data().unwrap();
            }
            // Emptied by opening it.
            File::create(dir.join(format!("emptied {name}"))).unwrap().set_len(4).unwrap();
            if synced {
                File::open(dir.join(format!("emptied {name}"))).unwrap().sync_all().unwrap();
            }
        }
        done();
    }
    let scene = Scene::new();
    for name in ["synced", "not", "emptied synced", "emptied not"] {
        fs::write(scene.power.data_dir().join(name), "abcdefgh").unwrap();
    }
    scene.run("what_is_cut_off_comes_back_as_zeroes_only");
    scene.power.cut();
    assert_eq!(scene.read("synced").unwrap(), b"ab\0\0!\0");
    assert_eq!(scene.read("not").unwrap(), b"abcdefgh");
    assert_eq!(scene.read("emptied synced").unwrap(), [0; 4]);
    assert_eq!(scene.read("emptied not").unwrap(), b"abcdefgh");
}

#[test]
fn names_go_back_to_what_they_were() {
    if let Some(dir) = on_power() {
        // A file keeps its bytes through renames, whenever it was synced.
        let write = |name: &str, text: &str| {
            let mut file = File::create(dir.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.sync_all().unwrap();
            file
        };
        let file = write("current.new", "new");
        fs::rename(dir.join("current.new"), dir.join("current")).unwrap();
        fs::create_dir_all(dir.join("deep/deeper")).unwrap();
        write("deep/deeper/file", "below");
        sync_names(&dir.join("deep/deeper"));
        sync_names(&dir.join("deep"));
        fs::rename(dir.join("deep"), dir.join("renamed")).unwrap();
        sync_names(&dir);
        // From here on no name is durable.
        (&file).write_all(b"er").unwrap();
        file.sync_data().unwrap();
        fs::remove_file(dir.join("current")).unwrap();
        (&file).write_all(b" still").unwrap();
        file.sync_data().unwrap();
        write("current", "of no account");
        fs::rename(dir.join("old"), dir.join("renamed/old")).unwrap();
        fs::create_dir(dir.join("late")).unwrap();
        done();
    }
    let scene = Scene::new();
    fs::write(scene.power.data_dir().join("current"), "old").unwrap();
    fs::write(scene.power.data_dir().join("old"), "there before").unwrap();
    scene.run("names_go_back_to_what_they_were");
    scene.power.cut();
    assert_eq!(scene.read("current").unwrap(), b"newer still");
    assert_eq!(scene.read("renamed/deeper/file").unwrap(), b"below");
    assert_eq!(scene.read("old").unwrap(), b"there before");
    assert_eq!(scene.read("renamed/old"), None);
    let mut names: Vec<_> = fs::read_dir(scene.power.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["current", "old", "renamed"]);
}

#[test]
fn a_killed_process_takes_nothing_with_it_and_the_next_one_goes_on() {
    if let Some(dir) = on_power() {
        let path = dir.join("file");
        if path.exists() {
            // Written by the process before this one, and never synced by it.
            File::open(&path).unwrap().sync_all().unwrap();
        } else {
            let mut file = File::create(&path).unwrap();
            sync_names(&dir);
            file.write_all(b"by the first").unwrap();
        }
        done();
    }
    let scene = Scene::new();
    let test = "a_killed_process_takes_nothing_with_it_and_the_next_one_goes_on";
    scene.run(test);
    assert_eq!(scene.read("file").unwrap(), b"by the first", "the kernel has it");
    scene.run(test);
    scene.power.cut();
    assert_eq!(scene.read("file").unwrap(), b"by the first");

    let scene = Scene::new();
    scene.run(test);
    scene.power.cut();
    assert_eq!(scene.read("file").unwrap(), b"", "the first alone did not sync it");
}

#[test]
fn many_threads_lose_nothing_they_were_told() {
    const THREADS: u64 = 8;
    const WRITES: u64 = 400;
    if let Some(dir) = on_power() {
        let file = File::create(dir.join("file")).unwrap();
        sync_names(&dir);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let file = &file;
                scope.spawn(move || {
                    for nth in 1..=WRITES {
                        file.write_all_at(&nth.to_le_bytes(), 512 * thread).unwrap();
                        file.sync_data().unwrap();
                    }
                });
            }
        });
        done();
    }
    let scene = Scene::new();
    scene.run("many_threads_lose_nothing_they_were_told");
    scene.power.cut();
    let bytes = scene.read("file").unwrap();
    for thread in 0..THREADS as usize {
        let number = u64::from_le_bytes(bytes[512 * thread..][..8].try_into().unwrap());
        assert_eq!(number, WRITES, "thread {thread}");
    }
}

#[test]
fn rules_drop_syncs_and_fail_calls() {
    if let Some(dir) = on_power() {
        let open =
            |name: &str| OpenOptions::new().read(true).write(true).open(dir.join(name)).unwrap();
        let (dropped, broken, full) = (open("dropped"), open("broken"), open("full"));
        dropped.write_all_at(b"new", 0).unwrap();
        dropped.sync_data().unwrap();
        broken.write_all_at(b"new", 0).unwrap();
        assert_eq!(broken.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(full.write_all_at(b"new", 0).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((&full).write(b"new").unwrap_err().kind(), ErrorKind::StorageFull);
        full.sync_data().unwrap();
        let error = File::create(dir.join("full one")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(
            fs::create_dir(dir.join("full dir")).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        assert_eq!(broken.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(broken.read_at(&mut [0], 1).unwrap(), 1);
        // The rules go while the process runs.
        fs::remove_file(dir.join("../../control")).unwrap();
        assert_eq!(broken.read_at(&mut [0], 0).unwrap(), 1);
        broken.write_all_at(b"er", 3).unwrap();
        broken.sync_data().unwrap();
        full.write_all_at(b"new", 0).unwrap();
        full.sync_data().unwrap();
        done();
    }
    let scene = Scene::new();
    for name in ["dropped", "broken", "full"] {
        fs::write(scene.power.data_dir().join(name), "old").unwrap();
    }
    scene.power.rule(&[
        "drop sync */dropped",
        "eio sync */broken",
        "eio read */broken@000000000000",
        "enospc write,create */full*",
    ]);
    scene.run("rules_drop_syncs_and_fail_calls");
    assert_eq!(scene.power.met(), 7);
    scene.power.cut();
    assert_eq!(scene.read("dropped").unwrap(), b"old");
    // What a failed sync was to write is not written by the next one.
    assert_eq!(scene.read("broken").unwrap(), b"older");
    assert_eq!(scene.read("full").unwrap(), b"new");
}

#[test]
fn a_stalled_sync_has_not_happened() {
    if let Some(dir) = on_power() {
        let mut file = File::create(dir.join("file")).unwrap();
        sync_names(&dir);
        file.write_all(b"written").unwrap();
        file.sync_data().unwrap();
        done();
    }
    let scene = Scene::new();
    let test = "a_stalled_sync_has_not_happened";
    scene.power.rule(&["stall sync */file"]);
    let mut process = scene.command(test).spawn().unwrap();
    eventually(std::time::Duration::from_secs(30), "the sync", || {
        if scene.power.met() == 1 { Ok(()) } else { Err(scene.power.met()) }
    });
    process.kill().unwrap();
    process.wait().unwrap();
    scene.power.cut();
    assert_eq!(scene.read("file").unwrap(), b"");
}

#[test]
fn a_tear_leaves_any_part_of_what_was_not_synced() {
    const SECTORS: usize = 64;
    if let Some(dir) = on_power() {
        let file = OpenOptions::new().write(true).open(dir.join("file")).unwrap();
        file.write_all_at(&[2; 512], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[3; 512 * SECTORS], 512).unwrap();
        fs::rename(dir.join("old name"), dir.join("new name")).unwrap();
        done();
    }
    let (mut mixed, mut renamed, mut sizes) = (0, 0, std::collections::BTreeSet::new());
    for seed in 0..20 {
        let scene = Scene::new();
        fs::write(scene.power.data_dir().join("file"), [1; 512 * (SECTORS / 2)]).unwrap();
        fs::write(scene.power.data_dir().join("old name"), "moved").unwrap();
        scene.run("a_tear_leaves_any_part_of_what_was_not_synced");
        scene.power.tear(seed);
        let bytes = scene.read("file").unwrap();
        assert_eq!(bytes[..512], [2; 512], "what was synced is there");
        sizes.insert(bytes.len());
        assert!((512 * SECTORS / 2..=512 * (SECTORS + 1)).contains(&bytes.len()));
        let sectors: Vec<_> = bytes.chunks(512).skip(1).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let kinds: Vec<_> = sectors.iter().map(|sector| sector[0]).collect();
        assert!(kinds.iter().all(|kind| matches!(kind, 0 | 1 | 3)), "{kinds:?}");
        mixed += u32::from(kinds.contains(&1) && kinds.contains(&3));
        let names = (scene.read("old name"), scene.read("new name"));
        renamed += u32::from(names.1.is_some());
        assert!(names.0.is_some() != names.1.is_some(), "{names:?}");
    }
    assert!(
        mixed > 5 && (1..20).contains(&renamed) && sizes.len() > 3,
        "{mixed} {renamed} {sizes:?}"
    );
}
