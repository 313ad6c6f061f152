//! What a process and a directory take.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of disk under a directory; what vanishes while it is counted does not count.
pub fn disk(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Bytes of memory that a process has now.
///
/// # Panics
/// If there is no such process.
pub fn memory(pid: u32) -> u64 {
    field(pid, "VmRSS:")
}

/// The most bytes of memory that a process ever had.
///
/// # Panics
/// If there is no such process.
pub fn peak_memory(pid: u32) -> u64 {
    field(pid, "VmHWM:")
}

fn field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
