//! A small file system of its own, which a story can fill to the brim.
//!
//! It is mounted in a mount namespace of its own, held by a process that ends when the test program does,
//! however that ends: no mount is ever left behind. Everybody else reaches it through that process's entry in
//! `/proc`. A root user gets a real ext4 in a file, as disks have it; others a tmpfs, which the kernel lets
//! them mount in a user namespace, unless it is told not to.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// What the holder runs: it mounts, says so, and waits for the end of its stdin.
const EXT4: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    truncate -s "$1M" "$2.image" && mkfs.ext4 -q -F -m 0 "$2.image" || exit
    mount -o loop "$2.image" "$2" && echo mounted && exec cat >/dev/null"#;
const TMPFS: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    mount -t tmpfs -o "size=$1m,mode=755" small "$2" && echo mounted && exec cat >/dev/null"#;

/// A mounted file system. It goes when this is dropped, or the test program ends.
pub struct Volume {
    holder: Child,
    root: PathBuf,
}

impl Volume {
    /// A file system of that many MiB, an ext4 if possible, on a directory that is made for it.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn mount(dir: &Path, mib: u64) -> Result<Volume, String> {
        fs::create_dir(dir).map_err(|error| error.to_string())?;
        let ways = [("--mount", EXT4), ("--mount", TMPFS), ("--map-root-user", TMPFS)];
        let mut reasons = Vec::new();
        for (namespace, script) in ways {
            match hold(namespace, script, dir, mib) {
                Ok(volume) => return Ok(volume),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Writes one large file until nothing fits any more; returns its size in bytes. Called again, it takes what
    /// became free since.
    ///
    /// # Panics
    /// If writing fails for another reason.
    pub fn fill(&self) -> u64 {
        const MIB: usize = 1 << 20;
        const BLOCK: usize = 1 << 12;
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        // Large portions first, for speed; then what is left, to the last block. Somebody may give room
        // back meanwhile: then all over again.
        let mut at_most = |portion: usize, times: usize| {
            let zeroes = vec![0; portion];
            (0..times).any(|_| match file.write_all(&zeroes).and_then(|()| file.sync_data()) {
                Ok(()) => false,
                Err(error) if error.kind() == ErrorKind::StorageFull => true,
                Err(error) => panic!("filling {}: {error}", self.root.display()),
            })
        };
        while !(at_most(MIB, usize::MAX) && at_most(BLOCK, MIB / BLOCK) && at_most(1, BLOCK)) {}
        fs::metadata(self.filler()).unwrap().len()
    }

    /// Gives all of it back.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn drain(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The namespace goes with its last process, and the mount with the namespace, even if a node that
        // is still running has files open on it.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn hold(namespace: &str, script: &str, dir: &Path, mib: u64) -> Result<Volume, String> {
    let mut holder = Command::new("unshare")
        .args(["--mount", namespace, "sh", "-c", script, "sh"])
        .arg(mib.to_string())
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let root = PathBuf::from(format!("/proc/{}/root{}", holder.id(), dir.display()));
    let stdout = BufReader::new(holder.stdout.take().unwrap());
    let (tell, told) = sync_channel(1);
    // It ends with the pipe, that is, with the holder.
    thread::spawn(move || drop(tell.send(stdout.lines().next())));
    // From here on the holder is ended in any case.
    let mut volume = Volume { holder, root };
    match told.recv_timeout(Duration::from_secs(30)) {
        Ok(Some(Ok(line))) if line == "mounted" => Ok(volume),
        _ => {
            drop(volume.holder.kill());
            let stderr = volume.holder.stderr.take().unwrap();
            let said: Vec<_> = BufReader::new(stderr).lines().map_while(Result::ok).collect();
            Err(format!("{namespace}: {}", said.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_filled_to_the_last_byte_and_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("small");
        let volume = match Volume::mount(&dir, 16) {
            Ok(volume) => volume,
            Err(reason) => return println!("skipped: {reason}"),
        };
        let filled = volume.fill();
        assert!((1 << 20..=16 << 20).contains(&filled), "{filled} bytes");
        let more = volume.path().join("more");
        let error = fs::write(&more, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        volume.drain();
        fs::write(&more, "x").unwrap();

        assert!(!dir.join("more").exists(), "nobody else sees the mount");
        let held = File::open(&more).unwrap();
        let root = volume.path().to_owned();
        drop(volume);
        assert!(!root.exists(), "it is gone, although a file is open: {held:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    }
}
