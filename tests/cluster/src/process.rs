//! One running `distkv serve`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::binary::binary;
use crate::patience::eventually;

/// How much of what a process said is looked at when its story has failed, in bytes.
const TAIL: u64 = 16 * 1024;

/// A process under a label, ended by SIGKILL when it is dropped, by its own id.
pub struct Process {
    label: String,
    child: Child,
    stdout: Receiver<String>,
    log: PathBuf,
    log_begins: u64,
}

/// What the `ready` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The node's id, in hexadecimal.
    pub node: String,
    /// Where it listens.
    pub listen: String,
    /// The cluster's id, in hexadecimal.
    pub cluster: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// What it wrote to stdout and nobody had read yet, by lines.
    pub stdout: Vec<String>,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Exit {
    /// The line that begins with `error:`, without that; empty if there is none.
    pub fn error(&self) -> &str {
        self.stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_default()
    }

    /// Checks that this is a refusal as it should be: exit code 1, nothing on stdout, the kind, and a
    /// message with each of these words.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn assert_refused(&self, kind: &str, words: &[&str]) {
        assert_eq!(self.status.code(), Some(1), "exit code of a refusal; {self:?}");
        assert_eq!(self.stdout, Vec::<String>::new(), "stdout of a refusal; {self:?}");
        assert!(self.error().starts_with(&format!("{kind}: ")), "expected {kind}: {self:?}");
        for word in words {
            assert!(self.error().contains(word), "expected {word} in: {}", self.error());
        }
    }
}

impl Process {
    /// Runs `distkv serve` with these flags and, in its environment, these variables; its stderr goes to the
    /// end of `log`.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn spawn(
        label: &str,
        flags: &[String],
        variables: Vec<(&str, OsString)>,
        log: &Path,
    ) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let log_begins = file.metadata().unwrap().len();
        let mut child = Command::new(binary())
            .arg("serve")
            .args(flags)
            .env_remove("DISTKV_ENDPOINTS")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the program under test runs");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The thread ends with the pipe, that is, with the process. A node prints one line.
        let (tell, stdout) = sync_channel(100);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Process { label: label.into(), child, stdout, log: log.into(), log_begins }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the `ready` line; if the process ends instead, how it ended.
    ///
    /// # Errors
    /// How the process ended.
    ///
    /// # Panics
    /// If neither happens in time, or the line is not as it should be.
    #[track_caller]
    pub fn wait_ready(&mut self, patience: Duration) -> Result<Ready, Exit> {
        match self.stdout.recv_timeout(patience) {
            Ok(line) => Ok(parse_ready(&line)),
            Err(RecvTimeoutError::Timeout) => {
                panic!("waited {patience:?} for {} to be ready", self.label)
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.wait_exit(Duration::from_secs(5))),
        }
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// If it does not in time.
    #[track_caller]
    pub fn wait_exit(&mut self, patience: Duration) -> Exit {
        let what = format!("{} to end", self.label);
        let child = &mut self.child;
        let status =
            eventually(patience, &what, || child.try_wait().unwrap().ok_or("it is still running"));
        Exit { status, stdout: self.stdout.iter().collect(), stderr: self.stderr() }
    }

    /// Whether the process is running.
    ///
    /// # Panics
    /// If the operating system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name without `SIG`.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, name: &str) {
        signal(&[self], name);
    }

    /// All that it wrote to stderr.
    ///
    /// # Panics
    /// If the log cannot be read.
    pub fn stderr(&self) -> String {
        self.stderr_from(self.log_begins)
    }

    /// How many bytes it has written to stderr.
    ///
    /// # Panics
    /// If the log is gone.
    pub fn stderr_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len() - self.log_begins
    }

    fn stderr_from(&self, offset: u64) -> String {
        let mut file = File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let all = self.stderr_bytes();
            let stderr = self.stderr_from(self.log_begins + all.saturating_sub(TAIL));
            let lines: Vec<_> = stderr.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            let label = &self.label;
            eprintln!("---- the last that {label} (pid {}) said:\n{tail}\n----", self.child.id());
        }
        // It may have ended before, which is no error here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to several processes with one command, that is, all but at once.
pub(crate) fn signal(processes: &[&Process], name: &str) {
    let pids = processes.iter().map(|process| process.pid().to_string());
    let sent = Command::new("kill").arg(format!("-{name}")).args(pids).status().unwrap();
    assert!(sent.success(), "kill -{name} says {sent}");
}

fn parse_ready(line: &str) -> Ready {
    let fields: Vec<_> = line.split(' ').collect();
    let field = |at: usize, name: &str| {
        fields.get(at).and_then(|field| field.strip_prefix(name)).map(str::to_owned)
    };
    match (field(0, "ready"), field(1, "node="), field(2, "listen="), field(3, "cluster=")) {
        (Some(_), Some(node), Some(listen), Some(cluster)) if fields.len() == 4 => {
            assert_eq!((node.len(), cluster.len()), (16, 32), "ids in: {line}");
            Ready { node, listen, cluster }
        }
        _ => panic!("not a ready line: {line}"),
    }
}
