//! RocksDB's errors, in ours. RocksDB tells them apart by their text only.

use std::path::Path;

use crate::types::{Error, Kind};

/// A read that failed.
pub(super) fn on_read(error: rocksdb::Error) -> Error {
    Error::new(classify(error.as_ref()), "reading the stored state failed").because(error)
}

/// A write or flush that failed.
pub(super) fn on_write(error: rocksdb::Error) -> Error {
    Error::new(classify(error.as_ref()), "writing the state failed").because(error)
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

/// The kind of an error, from the words that RocksDB begins it with and the system's error in it.
fn classify(text: &str) -> Kind {
    const FULL: [&str; 3] =
        ["No space left on device", "Disk quota exceeded", "Space limit reached"];
    if FULL.iter().any(|words| text.contains(words)) {
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
