"""Threads that write all records, and threads that read them back."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Protocol, Self, TypeVar

import distkv

from records import Record

T = TypeVar("T")

PATIENCE = 30.0
PAUSE = 0.05


class Verbs(Protocol):
    """What the threads need of a `distkv.Client`."""

    def put(self, key: str, value: bytes, /) -> int: ...
    def get(self, key: str, /) -> bytes | None: ...


def patiently(
    call: Callable[[], T], patience: float = PATIENCE, stopping: threading.Event | None = None
) -> T:
    """Makes a call, again and again as long as the error says that this may help, and nobody wants to
    stop.

    After a timeout nobody knows whether a write was applied. Writing the same value to the same key
    once more does no harm, so it is retried like any other failure.
    """
    stopping = stopping or threading.Event()
    until = time.monotonic() + patience
    while True:
        try:
            return call()
        except distkv.Error as error:
            if not error.retryable or time.monotonic() >= until or stopping.wait(PAUSE):
                raise


class Writers:
    """Threads that share one client and one list of records. Leaving `with` stops them."""

    def __init__(self, client: Verbs, records: Sequence[Record], threads: int) -> None:
        self.acknowledged: set[str] = set()
        self.refused: dict[str, distkv.Error] = {}
        self.longest_wait = 0.0
        self._client = client
        self._records = iter(records)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._lost_leader_at: float | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="writer")
        self._running: list[Future[None]] = [self._pool.submit(self._write) for _ in range(threads)]

    def wait(self, seconds: float) -> bool:
        """Waits for a while; whether all has been written. Raises what a thread stumbled over."""
        over, running = wait(self._running, timeout=seconds)
        for future in over:
            future.result()
        return not running

    def lose_leader(self) -> None:
        """From now on the longest wait between two acknowledgements is measured."""
        self._lost_leader_at = time.monotonic()

    def _write(self) -> None:
        last = time.monotonic()
        while (record := self._next()) is not None:
            key, value = record
            try:
                patiently(lambda: self._client.put(key, value), stopping=self._stopping)
            except distkv.Error as error:
                with self._lock:
                    self.refused[key] = error
                continue
            now = time.monotonic()
            with self._lock:
                self.acknowledged.add(key)
                if self._lost_leader_at is not None:
                    waited = now - max(last, self._lost_leader_at)
                    self.longest_wait = max(self.longest_wait, waited)
            last = now

    def _next(self) -> Record | None:
        with self._lock:
            return None if self._stopping.is_set() else next(self._records, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._pool.shutdown()


def read_back(
    client: Verbs,
    records: Sequence[Record],
    threads: int,
    progress: Callable[[int], object] = lambda read: None,
    at_once: int = 200,
) -> tuple[set[str], set[str]]:
    """Reads every record and compares; the keys that are absent, and those with another value."""

    def check(start: int) -> tuple[set[str], set[str], int]:
        lost, wrong = set(), set()
        part = records[start : start + at_once]
        for key, value in part:
            found = patiently(lambda key=key: client.get(key))  # type: ignore[misc]
            if found is None:
                lost.add(key)
            elif found != value:
                wrong.add(key)
        return lost, wrong, len(part)

    all_lost, all_wrong = set[str](), set[str]()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for lost, wrong, read in pool.map(check, range(0, len(records), at_once)):
            all_lost |= lost
            all_wrong |= wrong
            progress(read)
    finally:
        pool.shutdown(cancel_futures=True)
    return all_lost, all_wrong
