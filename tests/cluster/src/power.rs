//! A power supply that can be cut.
//!
//! SIGKILL keeps what the kernel holds in memory, so it cannot tell a write that was synced from one that
//! was not. A node on a [`Power`] supply runs with a layer in front of libc (`power/`, in C) which keeps a
//! store of what is durable: the bytes and the names that were synced, and nothing else. [`Power::cut`] puts
//! that in the place of the directory the node worked on; [`Power::tear`] adds a part of the rest.
//!
//! The same layer makes a disk fail: it drops syncs, returns EIO or ENOSPC, or lets a call hang, by
//! [rules](Power::rule) that a story changes while the node runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::NamedTempFile;

use crate::store::{Store, Tear};

/// The directory of one seat, and what of it is durable.
///
/// ```text
/// BASE/live/data   the node's data directory
/// BASE/store/      what is durable, of all in live/
/// BASE/control     the rules in force
/// BASE/met         when they applied
/// ```
#[derive(Clone, Debug)]
pub struct Power {
    base: PathBuf,
}

impl Power {
    /// A supply for what will lie in `base`, which is made; the data directory is there and empty.
    ///
    /// # Panics
    /// If the file system does not let it.
    pub fn new(base: &Path) -> Power {
        fs::create_dir_all(base.join("live/data")).unwrap();
        fs::create_dir(base.join("store")).unwrap();
        // The layer compares paths as the kernel gives them.
        Power { base: base.canonicalize().unwrap() }
    }

    /// Where the node's data directory is.
    pub fn data_dir(&self) -> PathBuf {
        self.live().join("data")
    }

    /// What is watched: the data directory and its name.
    pub fn live(&self) -> PathBuf {
        self.base.join("live")
    }

    /// What a process needs in its environment to be on this supply.
    ///
    /// # Panics
    /// If the layer does not compile.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", layer().into()),
            ("POWER_LIVE", self.live().into()),
            ("POWER_STORE", self.base.join("store").into()),
            ("POWER_CONTROL", self.base.join("control").into()),
            ("POWER_MET", self.base.join("met").into()),
        ]
    }

    /// Makes these rules the ones in force, instead of those before. `power/rules.c` says what they may be;
    /// paths begin with `/data`.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn rule(&self, rules: &[&str]) {
        let file = NamedTempFile::new_in(&self.base).unwrap();
        fs::write(file.path(), rules.join("\n")).unwrap();
        // There may be none yet.
        drop(fs::remove_file(self.base.join("met")));
        // Renamed, so that no process sees half of it.
        file.persist(self.base.join("control")).unwrap();
    }

    /// How often rules have applied since they were given.
    pub fn met(&self) -> usize {
        fs::read(self.base.join("met"))
            .map_or(0, |bytes| bytes.split(|byte| *byte == b'\n').count() - 1)
    }

    /// Whether a process has begun to work on this supply since the last cut.
    pub fn in_use(&self) -> bool {
        self.base.join("store/root").exists()
    }

    /// Cuts the power of a process that is no more: what was not durable is gone.
    ///
    /// # Panics
    /// If the supply was not in use, or the file system fails.
    pub fn cut(&self) {
        self.replace(None);
    }

    /// Cuts the power in the middle of writing: of what was not durable any part may be there, sector by
    /// sector in files, and directory by directory in names. The seed says which.
    ///
    /// # Panics
    /// As [`cut`](Power::cut).
    pub fn tear(&self, seed: u64) {
        self.replace(Some(&mut Tear::new(&self.live(), seed)));
    }

    fn replace(&self, tear: Option<&mut Tear>) {
        let (store, live, next) = (self.base.join("store"), self.live(), self.base.join("next"));
        let root = fs::read_to_string(store.join("root")).expect("a process worked on this supply");
        fs::create_dir(&next).unwrap();
        Store { dir: &store, tear }.lay_out(&root, &next);
        fs::remove_dir_all(&live).unwrap();
        fs::rename(&next, &live).unwrap();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
    }
}

/// The layer, compiled once for each test program.
fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power");
        let program = std::env::current_exe().unwrap();
        let beside = program.parent().unwrap();
        // Under a name of its own first: another test program may be loading the one that is there.
        let made = NamedTempFile::new_in(beside).unwrap().into_temp_path();
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let ran = Command::new(compiler)
            .args([
                "-std=gnu11",
                "-O2",
                "-g",
                "-fPIC",
                "-shared",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-o",
            ])
            .arg(&made)
            .args(["calls.c", "store.c", "rules.c"].map(|name| source.join(name)))
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("there is a C compiler");
        assert!(
            ran.status.success(),
            "the power layer does not compile:\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let layer = beside.join("libpower.so");
        made.persist(&layer).unwrap();
        layer
    })
}
