//! RocksDB's errors, in ours. Its C interface tells them apart by their text only.
//!
//! What a flush or a compaction ran into is answered to every write from then on. RocksDB gets over a
//! full disk by itself. It never gets over anything else that a disk can answer, an exceeded quota
//! included, nor over damage in a file that it had to rewrite: it takes no writes until it is opened
//! anew.

use std::path::Path;

use parking_lot::Mutex;

use crate::types::{Error, Kind};

/// The one error of a disk that RocksDB gets over.
const DISK_FULL: &str = "No space left on device";
/// What a disk answers that cannot read a sector.
const UNREADABLE: &str = "Input/output error";

/// A read that failed.
pub(super) fn on_read(error: rocksdb::Error) -> Error {
    let unreadable = is_unreadable(error.as_ref());
    let error =
        Error::new(classify(error.as_ref()), "reading the stored state failed").because(error);
    if unreadable { error.unreadable() } else { error }
}

fn is_unreadable(text: &str) -> bool {
    text.starts_with("IO error") && text.contains(UNREADABLE)
}

/// A run that could not be looked at: when RocksDB makes nothing of a file, the file is to blame.
pub(super) fn on_inspection(error: rocksdb::Error) -> Error {
    let kind = match classify(error.as_ref()) {
        Kind::Internal if !error.as_ref().starts_with("IO error") => Kind::Corruption,
        kind => kind,
    };
    Error::new(kind, "a run does not parse").because(error)
}

/// A file outside the database that could not be written.
pub(super) fn on_export(error: rocksdb::Error) -> Error {
    let kind = match classify(error.as_ref()) {
        Kind::StorageFull => Kind::StorageFull,
        _ => Kind::Internal,
    };
    Error::new(kind, "a run could not be written").because(error)
}

/// A file that could not become one of the database's.
pub(super) fn on_ingestion(error: rocksdb::Error) -> Error {
    Error::new(classify(error.as_ref()), "a run could not be let in").because(error)
}

/// A write or flush that failed.
pub(super) fn on_write(error: rocksdb::Error) -> Error {
    let (kind, message) = classify_write(error.as_ref());
    Error::new(kind, message).because(error)
}

/// What the database has failed with for good, once it has.
#[derive(Default)]
pub(super) struct Failure(Mutex<Option<Error>>);

impl Failure {
    /// A write that failed: remembered, if it was for good. The first one counts: what comes later
    /// comes of it.
    pub(super) fn on_write(&self, error: rocksdb::Error) -> Error {
        let last = is_final(error.as_ref());
        let error = on_write(error);
        if last {
            let mut failed = self.0.lock();
            if failed.is_none() {
                tracing::error!(%error, "the state takes no more writes until it is opened anew");
                *failed = Some(error.again());
            }
        }
        error
    }

    pub(super) fn get(&self) -> Option<Error> {
        self.0.lock().as_ref().map(Error::again)
    }
}

/// A database that could not be opened.
pub(super) fn on_open(error: rocksdb::Error, dir: &Path) -> Error {
    let (kind, message) = classify_open(error.as_ref());
    Error::new(kind, message).with("directory", dir.display()).because(error)
}

fn classify_open(text: &str) -> (Kind, &'static str) {
    if text.contains("lock hold by current process") {
        (Kind::InvalidArgument, "data directory is already open in this process")
    } else if text.contains("While lock file") {
        (Kind::InvalidArgument, "data directory is in use by another process")
    } else {
        (classify(text), "data directory cannot be opened")
    }
}

fn classify_write(text: &str) -> (Kind, &'static str) {
    if is_final(text) {
        let kind = match classify(text) {
            Kind::Corruption => Kind::Corruption,
            _ => Kind::Internal,
        };
        return (kind, "the state takes no more writes");
    }
    // Writers are not made to wait where RocksDB would; it says so with these words.
    if text.starts_with("Result incomplete: Write stall") {
        return (Kind::Overloaded, "the state has to catch up with earlier writes");
    }
    (classify(text), "writing the state failed")
}

/// Whether an error of a write means that no other will succeed.
fn is_final(text: &str) -> bool {
    let text = text.strip_prefix("Result incomplete: ").unwrap_or(text);
    let stops = text.starts_with("IO error") || text.starts_with("Corruption");
    stops && !text.contains(DISK_FULL)
}

/// The kind of an error, from the words that RocksDB begins it with and the system's error in it.
fn classify(text: &str) -> Kind {
    if text.contains(DISK_FULL) || text.contains("Disk quota exceeded") {
        return Kind::StorageFull;
    }
    // A file that RocksDB knows of and does not find was taken away behind its back.
    if text.starts_with("Corruption") || text.contains("No such file or directory") {
        return Kind::Corruption;
    }
    Kind::Internal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_kinds() {
        let full = "IO error: No space left on device: While appending to file: /d/000012.sst";
        assert_eq!(classify(full), Kind::StorageFull);
        assert_eq!(classify("IO error: While fsync: /d/1: Disk quota exceeded"), Kind::StorageFull);
        assert_eq!(classify("Corruption: block checksum mismatch"), Kind::Corruption);
        assert_eq!(
            classify("IO error: No such file or directory: While open a file: /d/000012.sst"),
            Kind::Corruption
        );
        assert_eq!(classify("IO error: While pread: /d/000012.sst"), Kind::Internal);
        assert_eq!(classify("Shutdown in progress: "), Kind::Internal);
        let sector = "IO error: While pread offset 0 len 9: /d/000012.sst: Input/output error";
        assert_eq!((classify(sector), is_unreadable(sector)), (Kind::Internal, true));
        assert!(!is_unreadable(full) && !is_unreadable("Corruption: Input/output error"));
    }

    #[test]
    fn only_a_full_disk_and_a_stall_pass() {
        let full = "IO error: No space left on device: While appending to file: /d/000012.sst";
        let stall = "Result incomplete: Write stall";
        assert_eq!(classify_write(full).0, Kind::StorageFull);
        assert_eq!(classify_write(stall).0, Kind::Overloaded);
        for (text, kind) in [
            ("IO error: While fsync: /d/1.sst: Input/output error", Kind::Internal),
            ("IO error: While appending to file: /d/1.sst: Disk quota exceeded", Kind::Internal),
            ("IO error: No such file or directory: While open: /d/1.sst", Kind::Corruption),
            ("Corruption: block checksum mismatch", Kind::Corruption),
        ] {
            assert!(is_final(text), "{text}");
            assert_eq!(classify_write(text).0, kind, "{text}");
        }
        for text in [full, stall, "Shutdown in progress: ", "Invalid argument: x"] {
            assert!(!is_final(text), "{text}");
        }
    }

    #[test]
    fn the_first_failure_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let options = rocksdb::Options::default();
        let error = |name| rocksdb::DB::list_cf(&options, root.path().join(name)).unwrap_err();
        let failure = Failure::default();
        assert!(failure.get().is_none());
        failure.on_write(error("first"));
        failure.on_write(error("second"));
        let remembered = failure.get().unwrap().to_string();
        assert!(remembered.contains("first"), "{remembered}");
    }

    #[test]
    fn a_locked_directory_says_by_whom() {
        let (kind, message) =
            classify_open("IO error: While lock file: /d/LOCK: Resource temporarily unavailable");
        assert_eq!(kind, Kind::InvalidArgument);
        assert!(message.ends_with("in use by another process"));
        assert_eq!(classify_open("Corruption: bad").0, Kind::Corruption);
    }
}
