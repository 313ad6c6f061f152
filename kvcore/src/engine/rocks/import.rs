//! Runs become part of the database.
//!
//! They are looked at first, in a small database of their own that has links to the same files:
//! RocksDB opens each, and every block is read, its checksum compared and its keys looked at. What
//! stood in the ranges is then deleted, and the files are linked into the database, one after the
//! other. RocksDB puts a file as low as it can; where older files are in the way it goes into level 0,
//! and if that got full all writers would be refused. So the next file waits until there is room.
//!
//! All this happens in a folder inside the directory of the database, because links need the same
//! file system. What a crash leaves there is removed when the database is opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rocksdb::{ColumnFamily, IngestExternalFileOptions, LiveFile, ReadOptions};

use super::{Database, RocksEngine, backlog, error, handle, options, view};
use crate::engine::run::{Inspection, Span, disjoint};
use crate::engine::{Batch, Content, Engine, Part, Run};
use crate::types::{Error, Kind, Result};

/// The folder, inside the directory of the database.
const FOLDER: &str = "import";

/// With so many tables in level 0 the next file waits: well below where writers are slowed down,
/// because a file is as large as many tables, and keeps compaction busy for as long.
const ROOM: u64 = backlog::SLOWDOWN / 2;

/// Removes what a crash left of imports. The directory of the database must be locked.
pub(super) fn remove_remains(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).with("folder", dir.join(FOLDER).display()))
        }
        _ => Ok(()),
    }
}

/// As [`Engine::import`].
pub(super) fn import(
    engine: &RocksEngine,
    ranges: &[Part],
    runs: &[Run],
    last: &Batch,
) -> Result<()> {
    let place = Place::new(engine)?;
    let links = runs.iter().enumerate().map(|(number, run)| place.link(number, run));
    let links = links.collect::<Result<Vec<_>>>()?;
    inspect(&place, ranges, &links)?;
    clear(engine, ranges)?;
    for link in &links {
        backlog::wait(engine, ROOM)?;
        let handle = handle(&engine.database, link.run.family)?;
        let ingested = ingest(&engine.database, handle, &link.path);
        ingested.map_err(|error| link.name(error::on_ingestion(error)))?;
    }
    write(engine, last)?;
    engine.flush()
}

/// A folder for one import, which goes with it.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(engine: &RocksEngine) -> Result<Place> {
        let number = engine.imports.fetch_add(1, Ordering::Relaxed);
        let folder = engine.database.path().join(FOLDER).join(number.to_string());
        fs::create_dir_all(&folder)?;
        Ok(Place { folder })
    }

    /// Gives the file of a run a name here, or copies it from another file system.
    fn link<'a>(&self, number: usize, run: &'a Run) -> Result<Link<'a>> {
        let link = Link { run, path: self.folder.join(format!("{number}.sst")) };
        let Content::File { path, bytes } = &run.content else {
            return Err(Error::new(
                Kind::Corruption,
                "a run in memory is not of this engine's kind",
            ));
        };
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            metadata => Some(metadata?.len()),
        };
        if found != Some(*bytes) {
            let error = Error::new(Kind::Corruption, "the file of a run is missing or not whole");
            return Err(link.name(error.with("bytes", bytes)));
        }
        if fs::hard_link(path, &link.path).is_err() {
            fs::copy(path, &link.path).map_err(|error| link.name(error.into()))?;
        }
        Ok(link)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "the folder of an import was not removed");
        }
    }
}

/// A run, and a name of our own for its file. RocksDB takes the name away when it has the file.
struct Link<'a> {
    run: &'a Run,
    path: PathBuf,
}

impl Link<'_> {
    fn name(&self, error: Error) -> Error {
        match &self.run.content {
            Content::File { path, .. } => error.with("file", path.display()),
            Content::Memory(_) => error,
        }
    }
}

/// Reads all runs from end to end. Refuses those that are not as they should be.
fn inspect(place: &Place, ranges: &[Part], links: &[Link<'_>]) -> Result<()> {
    let dir = place.folder.join("inspection");
    let (options, families) = options::of_inspection();
    let database = Database::open_cf_descriptors(&options, &dir, families)
        .map_err(|error| error::on_open(error, &dir))?;
    let mut spans = Vec::with_capacity(links.len());
    for link in links {
        spans.push(look(&database, link, ranges).map_err(|error| link.name(error))?);
    }
    disjoint(spans)
}

fn look(database: &Database, link: &Link<'_>, ranges: &[Part]) -> Result<Span> {
    let before = database.live_files().map_err(error::on_inspection)?;
    let second = link.path.with_extension("inspected");
    fs::hard_link(&link.path, &second)?;
    let handle = handle(database, link.run.family)?;
    ingest(database, handle, &second).map_err(error::on_inspection)?;
    let after = database.live_files().map_err(error::on_inspection)?;
    let new = |file: &&LiveFile| before.iter().all(|known| known.name != file.name);
    let file = after.iter().find(new).ok_or_else(|| Error::internal("a run got lost"))?;

    let (Some(first), Some(last)) = (&file.start_key, &file.end_key) else {
        return Err(Error::new(Kind::Corruption, "a run holds no pairs"));
    };
    let mut options = ReadOptions::default();
    view::read_once(&mut options);
    options.set_iterate_lower_bound(first.as_slice());
    options.set_iterate_upper_bound([last.as_slice(), &[0]].concat());
    let mut pairs = database.raw_iterator_cf_opt(handle, options);
    let mut inspection = Inspection::new(link.run.family, ranges);
    let mut seen = 0;
    pairs.seek_to_first();
    while let Some(key) = pairs.key() {
        inspection.key(key)?;
        seen += 1;
        pairs.next();
    }
    pairs.status().map_err(error::on_inspection)?;
    // Deletions, for one, are not seen, and keys of a run that this one overlaps are seen too.
    if seen != file.num_entries {
        return Err(Error::new(Kind::Corruption, "a run holds other than its own pairs"));
    }
    inspection.end()
}

/// Makes a file part of a database, and takes its name away.
fn ingest(database: &Database, family: &ColumnFamily, path: &Path) -> Result<(), rocksdb::Error> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    database.ingest_external_file_cf_opts(family, &options, vec![path])
}

/// Deletes what is in the ranges, and gets it out of memory: RocksDB would flush what a file overlaps
/// while it keeps all writers waiting.
fn clear(engine: &RocksEngine, ranges: &[Part]) -> Result<()> {
    let view = engine.view()?;
    let mut batch = Batch::new();
    for (family, range) in ranges {
        // A range that was deleted is remembered for long, so delete none in vain.
        if !view.scan(*family, range.clone(), false, 1, 0)?.is_empty() {
            batch.delete_range(*family, range.clone());
        }
    }
    write(engine, &batch)?;
    engine.flush()
}

/// Writes as soon as writers are let in.
fn write(engine: &RocksEngine, batch: &Batch) -> Result<()> {
    loop {
        match engine.write(batch) {
            Err(error) if error.kind() == Kind::Overloaded => {
                backlog::wait(engine, backlog::SLOWDOWN)?;
            }
            written => return written,
        }
    }
}
