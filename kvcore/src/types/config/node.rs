//! What one node is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::Founding;
use super::storage::StorageConfig;
use crate::types::error::{Error, Kind, Result};
use crate::types::limits::Limits;

/// The options of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where to listen, `host:port` with a numeric host; port 0 picks a free one. Default:
    /// `127.0.0.1:0`.
    pub listen: String,
    /// What others are told to dial, `host:port`. Default: the address listened on.
    pub advertise: Option<String>,
    /// The directory that holds the node's identity, log and state. Default: none, the node keeps
    /// everything in memory and is forgotten with its process.
    pub data_dir: Option<PathBuf>,
    /// Addresses of members, any of which is asked to let this node in. Default: none.
    pub join: Vec<String>,
    /// Found a cluster although there are addresses to join, if none of them belongs to one.
    /// Default: false.
    pub bootstrap: bool,
    /// What the cluster is, or must be. Default: nothing demanded.
    pub founding: Founding,
    /// The failure zone (rack, data centre) of this node. Default: none.
    pub zone: Option<String>,
    /// The node's share of the data against others': 0.01 to 100. Default: 1.
    pub weight: f64,
    /// How long `start` may take to become able to serve. Default: 60 s.
    pub start_timeout: Duration,
    /// Limits. Default: the highest allowed.
    pub limits: Limits,
    /// How much memory and disk the node takes. Default: see [`StorageConfig`].
    pub storage: StorageConfig,
    /// Timers. Default: see [`Timers`].
    pub timers: Timers,
}

impl Default for NodeConfig {
    fn default() -> Self {
        NodeConfig {
            listen: "127.0.0.1:0".into(),
            advertise: None,
            data_dir: None,
            join: Vec::new(),
            bootstrap: false,
            founding: Founding::default(),
            zone: None,
            weight: 1.0,
            start_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            storage: StorageConfig::default(),
            timers: Timers::default(),
        }
    }
}

/// How long nodes wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two signs of life of a leader. Default: 250 ms.
    pub heartbeat: Duration,
    /// The least a follower waits for one before it asks to be leader. Default: 750 ms.
    pub election_min: Duration,
    /// The most. Default: 1 s.
    pub election_max: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(750),
            election_max: Duration::from_millis(1000),
        }
    }
}

impl NodeConfig {
    /// Checks every field, without touching disk or network.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field and its value.
    pub fn validate(&self) -> Result<()> {
        let listen = self.listen_address()?;
        if listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(Error::new(
                Kind::InvalidArgument,
                "a node that listens on every address must be told which one others are to dial",
            )
            .with("listen", &self.listen)
            .with("missing", "advertise"));
        }
        for address in self.join.iter().chain(&self.advertise) {
            check_address(address)?;
        }
        weight_milli(self.weight)?;
        let timers = &self.timers;
        if timers.heartbeat.is_zero()
            || timers.heartbeat * 2 > timers.election_min
            || timers.election_min >= timers.election_max
        {
            return Err(Error::new(
                Kind::InvalidArgument,
                "timers out of order: 2 heartbeats <= election_min < election_max",
            )
            .with("heartbeat_ms", timers.heartbeat.as_millis())
            .with("election_min_ms", timers.election_min.as_millis())
            .with("election_max_ms", timers.election_max.as_millis()));
        }
        self.limits.validate()?;
        self.storage.validate()?;
        self.founding.found(self.data_dir.is_some())?;
        Ok(())
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not `host:port` with a numeric host.
    pub fn listen_address(&self) -> Result<SocketAddr> {
        let text = self.listen.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let text = text.as_deref().unwrap_or(&self.listen);
        text.parse().map_err(|_| {
            Error::new(Kind::InvalidArgument, "listen address does not parse")
                .with("listen", &self.listen)
                .with("expected", "IP:PORT")
        })
    }

    /// The weight in thousandths, as the ring counts it.
    ///
    /// # Errors
    /// As [`weight_milli`].
    pub fn weight_milli(&self) -> Result<u32> {
        weight_milli(self.weight)
    }
}

/// A node's share against others', in thousandths, as the ring counts it.
///
/// # Errors
/// `InvalidArgument` unless it is 0.01 to 100.
pub fn weight_milli(weight: f64) -> Result<u32> {
    if !(0.01..=100.0).contains(&weight) {
        return Err(Error::new(Kind::InvalidArgument, "weight out of range")
            .with("weight", weight)
            .with("allowed", "0.01 to 100"));
    }
    Ok((weight * 1000.0).round() as u32)
}

/// Checks that an address is `host:port`: the host may be a name, the port is 1 to 65535.
///
/// # Errors
/// `InvalidArgument` naming the address.
pub fn check_address(address: &str) -> Result<()> {
    let bad = || {
        Error::new(Kind::InvalidArgument, "address does not parse")
            .with("address", address)
            .with("expected", "HOST:PORT")
    };
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return if socket.port() == 0 { Err(bad()) } else { Ok(()) };
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if port == 0 || host.is_empty() || !host.chars().all(named) {
        return Err(bad());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:7400", "[::1]:7400", "node-1.example:80", "localhost:1"] {
            check_address(good).unwrap();
        }
        for bad in ["", "7400", "host", "host:", "host:0", "host:x", ":1", "a b:1", "127.0.0.1:0"] {
            assert_eq!(check_address(bad).unwrap_err().kind(), Kind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_default_node_is_valid() {
        NodeConfig::default().validate().unwrap();
        let heavy = NodeConfig { weight: f64::NAN, ..NodeConfig::default() };
        assert_eq!(heavy.validate().unwrap_err().kind(), Kind::InvalidArgument);
        let anywhere = NodeConfig { listen: "0.0.0.0:7400".into(), ..NodeConfig::default() };
        assert_eq!(anywhere.validate().unwrap_err().kind(), Kind::InvalidArgument);
        let told = NodeConfig { advertise: Some("db-1:7400".into()), ..anywhere };
        told.validate().unwrap();
        let lost = NodeConfig { listen: "here".into(), ..NodeConfig::default() };
        assert_eq!(lost.validate().unwrap_err().kind(), Kind::InvalidArgument);
    }
}
