//! What the power layer has kept (`power/layer.h` says in which form), and what a power failure makes of it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What a disk writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// What is durable, in files named after inodes.
pub(crate) struct Store<'a> {
    pub dir: &'a Path,
    pub tear: Option<&'a mut Tear>,
}

/// What of the rest is there all the same.
pub(crate) struct Tear {
    /// Where the live directory has each file and directory.
    live: HashMap<String, PathBuf>,
    random: SmallRng,
    /// How likely a sector made it to the disk.
    likely: f64,
}

/// A name in a directory.
struct Entry {
    is_dir: bool,
    id: String,
    name: OsString,
}

impl Store<'_> {
    /// Makes a directory's content.
    pub fn lay_out(&mut self, id: &str, target: &Path) {
        for entry in self.names(id) {
            let path = target.join(entry.name);
            if entry.is_dir {
                fs::create_dir(&path).unwrap();
                self.lay_out(&entry.id, &path);
                continue;
            }
            let kept = self.dir.join(format!("f-{}", entry.id));
            if kept.exists() {
                fs::hard_link(kept, &path).unwrap();
            } else {
                File::create(&path).unwrap();
            }
            if let Some(tear) = &mut self.tear {
                tear.add(&entry.id, &path);
            }
        }
    }

    fn names(&mut self, id: &str) -> Vec<Entry> {
        if let Some(tear) = &mut self.tear
            && tear.random.random()
            && let Some(dir) = tear.live.get(id)
        {
            return list(dir);
        }
        // A directory's name may be durable, but none in it.
        let names = fs::read(self.dir.join(format!("d-{id}"))).unwrap_or_default();
        let lines = names.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Entry::parse).collect()
    }
}

impl Entry {
    fn parse(line: &[u8]) -> Entry {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut part = || parts.next().expect("a kind, an id and a name").to_vec();
        let is_dir = part() == b"d";
        Entry { is_dir, id: String::from_utf8(part()).unwrap(), name: OsString::from_vec(part()) }
    }
}

impl Tear {
    /// A part of what is in the live directory, by a seed.
    pub fn new(live: &Path, seed: u64) -> Tear {
        let mut random = SmallRng::seed_from_u64(seed);
        let likely = [0.1, 0.5, 0.9][random.random_range(0..3)];
        let mut tear = Tear { live: HashMap::new(), random, likely };
        tear.find(live);
        tear
    }

    fn find(&mut self, dir: &Path) {
        self.live.insert(id_of(&fs::metadata(dir).unwrap()), dir.into());
        for entry in list(dir) {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                self.find(&path);
            } else {
                self.live.insert(entry.id, path);
            }
        }
    }

    /// Adds some of the sectors that a file has in the live directory, and perhaps its size.
    fn add(&mut self, id: &str, path: &Path) {
        let Some(live) = self.live.get(id) else { return };
        let (live, file) =
            (fs::read(live).unwrap(), File::options().write(true).open(path).unwrap());
        let durable = fs::read(path).unwrap();
        if live == durable {
            return;
        }
        let (least, most) = (live.len().min(durable.len()), live.len().max(durable.len()));
        let size = match self.random.random_range(0..3) {
            0 => durable.len(),
            1 => live.len(),
            _ => self.random.random_range(least..=most),
        };
        file.set_len(size as u64).unwrap();
        for (nth, sector) in live.chunks(SECTOR).enumerate() {
            let at = nth * SECTOR;
            let sector = &sector[..sector.len().min(size.saturating_sub(at))];
            let same = durable.get(at..at + sector.len()) == Some(sector);
            if !same && self.random.random_bool(self.likely) {
                file.write_all_at(sector, at as u64).unwrap();
            }
        }
    }
}

fn list(dir: &Path) -> Vec<Entry> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let facts = entry.metadata().unwrap();
        Entry { is_dir: facts.is_dir(), id: id_of(&facts), name: entry.file_name() }
    });
    let mut entries: Vec<_> = entries.collect();
    // The seed is to mean the same each time.
    entries.sort_by(|one, other| OsStr::as_bytes(&one.name).cmp(OsStr::as_bytes(&other.name)));
    entries
}

/// As the layer names an inode.
fn id_of(facts: &Metadata) -> String {
    let born = facts.created().unwrap().duration_since(UNIX_EPOCH).unwrap();
    format!("{:x}.{:x}", facts.ino(), born.as_nanos())
}
