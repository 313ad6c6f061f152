//! Runs in files: a part of a view, written down as sorted tables of RocksDB's own form.

use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{Options, SstFileWriter};

use super::{error, options, view};
use crate::engine::run::{Stretch, Walk};
use crate::engine::{Content, Ranges, Run, View};
use crate::types::Result;

/// How large a file may grow before the next one is begun.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Makes one file for each call of `next`. Ends after an error.
pub(super) struct FileRuns {
    walk: Peekable<Walk>,
    options: Options,
    dir: PathBuf,
    made: u64,
    failed: bool,
}

impl FileRuns {
    pub(super) fn new(view: Arc<dyn View>, ranges: Ranges, dir: &Path) -> FileRuns {
        let walk = Walk::new(view, ranges, view::COPY_BYTES).peekable();
        FileRuns { walk, options: options::of_runs(), dir: dir.to_owned(), made: 0, failed: false }
    }

    fn make(&mut self, first: &Stretch) -> Result<Run> {
        self.made += 1;
        let path = self.dir.join(format!("run-{:06}.sst", self.made));
        // Never written over: what is there may be a file of a database too, under another name.
        super::remove_file(&path)?;
        let run = self.fill(first, &path);
        if run.is_err()
            && let Err(error) = super::remove_file(&path)
        {
            tracing::warn!(%error, "what there is of a run was not removed");
        }
        run
    }

    fn fill(&mut self, first: &Stretch, path: &Path) -> Result<Run> {
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(path).map_err(error::on_export)?;
        put(&mut writer, first)?;
        while writer.file_size() < FILE_BYTES {
            // Up to the end of the range; an error is left for the next call.
            let goes_on =
                |next: &Result<Stretch>| next.as_ref().is_ok_and(|next| next.range == first.range);
            let Some(next) = self.walk.next_if(goes_on) else { break };
            put(&mut writer, &next?)?;
        }
        writer.finish().map_err(error::on_export)?;
        let bytes = fs::metadata(path)?.len();
        Ok(Run { family: first.family, content: Content::File { path: path.to_owned(), bytes } })
    }
}

fn put(writer: &mut SstFileWriter<'_>, stretch: &Stretch) -> Result<()> {
    for (key, value) in &stretch.pairs {
        writer.put(key, value).map_err(error::on_export)?;
    }
    Ok(())
}

impl Iterator for FileRuns {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Result<Run>> {
        if self.failed {
            return None;
        }
        let run = self.walk.next()?.and_then(|first| self.make(&first));
        self.failed = run.is_err();
        Some(run)
    }
}
