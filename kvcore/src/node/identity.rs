//! Who this node is, in a file: `identity.json` in the data directory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::types::config::ClusterConfig;
use crate::types::{ClusterId, Error, Kind, NodeId, ReplicaId, Result, Seam};

/// The version of the file that is written; a larger one is refused.
const FORMAT: u32 = 1;
const NAME: &str = "identity.json";

/// The node's identity, and its place in a cluster once it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) node: NodeId,
    pub(super) place: Option<Place>,
}

/// A place in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cluster: ClusterId,
    /// This node's replica of the metadata group.
    pub(super) metadata: ReplicaId,
    /// Set on the founder: what the cluster is founded with, in case the founding was interrupted.
    pub(super) founding: Option<ClusterConfig>,
}

/// The file: people read it, so ids are in the form they are shown in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    node: String,
    cluster: Option<String>,
    metadata_replica: Option<u64>,
    founding: Option<ClusterConfig>,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Identity {
    /// A new node, of no cluster yet.
    pub(super) fn new(seam: &Seam) -> Identity {
        // 0 means "no node" on the wire.
        Identity { node: NodeId(seam.entropy.next_u64().max(1)), place: None }
    }

    /// Reads the identity in a directory, if there is one.
    ///
    /// # Errors
    /// `Corruption` for a file that does not parse, `Unsupported` for a newer version, `Internal`.
    pub(super) fn load(dir: &Path) -> Result<Option<Identity>> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from(error).with("file", path.display())),
        };
        parse(&bytes).map(Some).map_err(|error| error.with("file", path.display()))
    }

    /// Writes the identity, whole or not at all, and durably.
    ///
    /// # Errors
    /// `StorageFull`, `Internal`.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let stored = Stored {
            format: FORMAT,
            node: self.node.to_string(),
            cluster: self.place.as_ref().map(|place| place.cluster.to_string()),
            metadata_replica: self.place.as_ref().map(|place| place.metadata.0),
            founding: self.place.as_ref().and_then(|place| place.founding.clone()),
        };
        let mut bytes = serde_json::to_vec_pretty(&stored)
            .map_err(|error| Error::internal("identity cannot be encoded").because(error))?;
        bytes.push(b'\n');
        let path = dir.join(NAME);
        replace(dir, &path, &bytes).map_err(|error| Error::from(error).with("file", path.display()))
    }
}

fn parse(bytes: &[u8]) -> Result<Identity> {
    let damaged = || Error::new(Kind::Corruption, "the node's identity does not parse");
    // The version first, and by itself: a newer file may have fields that are not known here.
    let Version { format } =
        serde_json::from_slice(bytes).map_err(|error| damaged().because(error))?;
    if format != FORMAT {
        return Err(Error::new(Kind::Unsupported, "the data directory is of another version")
            .with("format", format)
            .with("known", FORMAT));
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| damaged().because(error))?;
    let node = stored.node.parse().map_err(|error| damaged().because(error))?;
    let place = match (stored.cluster, stored.metadata_replica) {
        (None, None) => None,
        (Some(cluster), Some(metadata)) => Some(Place {
            cluster: cluster.parse().map_err(|error| damaged().because(error))?,
            metadata: ReplicaId(metadata),
            founding: stored.founding,
        }),
        _ => return Err(damaged()),
    };
    Ok(Identity { node, place })
}

fn replace(dir: &Path, path: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let founding = Some(ClusterConfig::default());
        let place = Place { cluster: ClusterId(5), metadata: ReplicaId(1), founding };
        Identity { node: NodeId(9), place: Some(place) }
    }

    #[test]
    fn reads_back_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        for identity in [Identity { place: None, ..identity() }, identity()] {
            identity.save(dir.path()).unwrap();
            assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity));
        }
    }

    #[test]
    fn damage_and_newer_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        identity().save(dir.path()).unwrap();
        let path = dir.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"format\": 1", "\"format\": 2, \"new\": 0")).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap_err().kind(), Kind::Unsupported);
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption);
        assert!(error.message().contains("identity.json"));
    }
}
