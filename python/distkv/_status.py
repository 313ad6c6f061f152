"""What a node tells of itself and its cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One node's view of itself and its cluster."""

    node: str
    """The node's id, in hexadecimal."""
    cluster: str
    """The cluster's id, in hexadecimal."""
    address: str
    """What others are told to dial."""
    version: str
    """The version of the node's library."""
    epoch: int
    """The epoch of the placement the node knows."""
    partitions: int
    """Partitions of the cluster."""
    replication_factor: int
    """The replication factor the cluster was founded with."""
    replicas: int
    """Replicas the node holds."""
    leaders: int
    """Replicas on the node that lead their partition."""
    leaderless: int
    """Partitions for which the node knows no leader."""
    lagging: int
    """Replicas on the node that have not applied all that they know to be committed."""
    moves: int
    """Moves of replicas that are under way in the cluster."""
    under_replicated: int
    """Partitions with fewer replicas than the cluster could give them."""
    durable: bool
    """Whether data is on disk."""
    damaged: int
    """Replicas of the node that are damaged, until others have taken their place."""
    full: bool
    """Whether the node's disk is full: it takes no writes, and others lead."""
    leaving: bool
    """Whether the node is on its way out of the cluster."""
    metadata_leader: str | None
    """The id of the node that leads the metadata group, as far as this one knows."""
    snapshot_bytes_received: int
    """Bytes of snapshots that the node has been sent since it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of the cluster, as the answering node sees it."""

    id: str
    """The member's id, in hexadecimal."""
    address: str
    """What it is dialled at."""
    state: str
    """`up` if the answering node has a live link to it (or is it), else `down`; `leaving` while it is on
    its way out, `dead` once others take over what it holds."""
    weight: float
    """Its share against others."""
    zone: str | None
    """Its failure zone, if it has one."""
    replicas: int
    """Replicas placed on it."""
    leaders: int
    """Partitions that prefer it as their leader."""
