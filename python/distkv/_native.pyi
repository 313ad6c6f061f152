"""The part of the package that is written in Rust; use it through `distkv`."""

from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import Final, Literal, Self, final

from typing_extensions import Buffer

from ._entry import Entry
from ._ring import Newcomer, Plan, Ring, Tuning
from ._status import Member, Status

__all__ = ["KINDS", "Client", "Node", "__version__", "_panic", "close_all", "connect", "open"]

__version__: str
KINDS: Final[tuple[tuple[int, str, bool, bool], ...]]

def connect(endpoints: str, timeout: float = 5.0) -> Client: ...
def open(path: str | PathLike[str]) -> Client: ...
def close_all() -> None: ...
def _panic() -> None: ...
@final
class Node:
    def __new__(
        cls,
        data_dir: str | PathLike[str] | None = None,
        listen: str = "127.0.0.1:0",
        *,
        join: Sequence[str] = (),
        partitions: int | None = None,
        replication_factor: int | None = None,
        vnodes: int | None = None,
        advertise: str | None = None,
        bootstrap: bool = False,
        zone: str | None = None,
        weight: float = 1.0,
        start_timeout: float = 60.0,
        memory_limit: int | None = None,
        log_budget: int | None = None,
        disk_reserve: int | None = None,
        snapshot_rate: int | None = None,
        compaction_rate: int | None = None,
    ) -> Self: ...
    @property
    def id(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def address(self) -> str: ...
    def client(self) -> Client: ...
    def status(self) -> Status: ...
    def leave(self, timeout: float | None = None) -> None: ...
    def wait_departed(self, timeout: float | None = None) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: BaseException | type[BaseException] | TracebackType | None) -> None: ...

@final
class Client:
    def put(
        self,
        key: Buffer | str,
        value: Buffer | str,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> int: ...
    def get(
        self,
        key: Buffer | str,
        *,
        consistency: Literal["linearizable", "lease"] = "linearizable",
        timeout: float | None = None,
    ) -> bytes | None: ...
    def get_entry(
        self,
        key: Buffer | str,
        *,
        consistency: Literal["linearizable", "lease"] = "linearizable",
        timeout: float | None = None,
    ) -> Entry | None: ...
    def delete(
        self,
        key: Buffer | str,
        *,
        if_revision: int | None = None,
        timeout: float | None = None,
    ) -> bool: ...
    def status(self) -> Status: ...
    def members(self) -> list[Member]: ...
    def ring(self) -> Ring: ...
    def plan(
        self,
        *,
        with_nodes: Sequence[Newcomer] = (),
        without_nodes: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Plan: ...
    def leave(self, node: str, *, timeout: float | None = None) -> None: ...
    def remove(self, node: str, *, force: bool = False, timeout: float | None = None) -> None: ...
    def transfer(self, partition: int, node: str, *, timeout: float | None = None) -> None: ...
    def tune(
        self,
        *,
        moves_per_node: int | None = None,
        move_rate: int | None = None,
        paused: bool | None = None,
        dead_node_timeout: float | None = None,
        max_dead_fraction: float | None = None,
        timeout: float | None = None,
    ) -> Tuning: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: BaseException | type[BaseException] | TracebackType | None) -> None: ...
