//! `distkv serve`: one node, from its start until it is asked to end or has left its cluster.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use clap::Args;
use kvcore::api::{Error, Kind, Node, NodeConfig, Op, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::config::Settings;
use crate::{logging, report};

#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// A TOML file with the same names as the flags, `_` for `-`; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the main thread waits for.
enum Event {
    /// The start is over, well or not.
    Started,
    /// Somebody asks the program to end.
    Asked,
    /// The node is no member any more, or will not get to know.
    Departed,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT, of which a second one ends the process at once, or until the node
    /// is no longer a member of its cluster.
    ///
    /// # Errors
    /// Those of the settings and of [`Node::start`]; what went wrong while closing.
    pub fn run(self) -> Result<ExitCode> {
        let file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let config = self.settings.over(file).node_config()?;
        logging::begin("warn,kvcore=info,distkv=info,openraft=error")?;

        let (tell, events) = sync_channel(4);
        let ending = Ending::listen(tell.clone())?;
        let served = serve(config, tell, &events);
        ending.stop();
        served.map(|()| ExitCode::SUCCESS)
    }
}

fn serve(config: NodeConfig, tell: SyncSender<Event>, events: &Receiver<Event>) -> Result<()> {
    let start = Node::start(config);
    // Both ends of the channel live until the program ends, and it has room for all that is ever sent.
    let started = tell.clone();
    start.on_ready(move || drop(started.try_send(Event::Started)));
    if let Ok(Event::Asked) = events.recv() {
        return give_up(start);
    }
    let node = start.wait()?;

    let (id, listen, cluster) = (node.id(), node.listen_address(), node.cluster());
    let ready = format!("ready node={id} listen={listen} cluster={cluster}\n");
    if let Err(error) = report::print(ready.as_bytes()) {
        // Whoever started the node no longer wants to hear from it; its clients do.
        tracing::warn!(%error, "the ready line could not be printed");
    }
    let departed = node.departed();
    departed.on_ready(move || drop(tell.try_send(Event::Departed)));
    while let Ok(event) = events.recv() {
        match event {
            Event::Started => {}
            Event::Asked => break,
            Event::Departed => match departed.take() {
                Some(Err(error)) => {
                    tracing::warn!(%error, "whether the node has left is not known")
                }
                _ => {
                    tracing::info!(node = %id, "the node has left the cluster, and ends");
                    break;
                }
            },
        }
    }
    node.close()
}

/// Ends a start that is no longer wanted; that it did not get to its end is no error then.
fn give_up(start: Op<Node>) -> Result<()> {
    start.cancel();
    match start.wait() {
        Ok(node) => node.close(),
        Err(error) => {
            tracing::info!(%error, "asked to end while starting");
            Ok(())
        }
    }
}

/// The thread that hears signals.
struct Ending {
    signals: Handle,
    thread: JoinHandle<()>,
}

impl Ending {
    fn listen(tell: SyncSender<Event>) -> Result<Ending> {
        let unable = |error: std::io::Error| {
            Error::new(Kind::Internal, "signals cannot be listened to").because(error)
        };
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(unable)?;
        let handle = signals.handle();
        let hear = move || {
            let mut asked = false;
            for _ in signals.forever() {
                if asked {
                    // Everything acknowledged is on disk already: leaving at once loses nothing.
                    signal_hook::low_level::exit(1);
                }
                asked = true;
                drop(tell.try_send(Event::Asked));
            }
        };
        let thread =
            std::thread::Builder::new().name("signals".into()).spawn(hear).map_err(unable)?;
        Ok(Ending { signals: handle, thread })
    }

    fn stop(self) {
        self.signals.close();
        if self.thread.join().is_err() {
            tracing::error!("the thread that hears signals panicked");
        }
    }
}
