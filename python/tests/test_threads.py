"""Many threads on one handle, and the GIL while one of them waits."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import distkv
import pytest


def counted_during(call: Callable[[], object]) -> tuple[int, float]:
    """How far another thread counts while a call blocks, and how long that takes."""
    count = 0
    running = threading.Event()
    over = threading.Event()

    def counter() -> None:
        nonlocal count
        running.set()
        while not over.is_set():
            count += 1

    thread = threading.Thread(target=counter)
    thread.start()
    running.wait()
    before, began = count, time.monotonic()
    try:
        call()
    finally:
        counted, took = count - before, time.monotonic() - began
        over.set()
        thread.join()
    return counted, took


def test_others_run_while_a_node_starts() -> None:
    def call() -> None:
        with pytest.raises(distkv.UnavailableError):
            distkv.Node(join=["127.0.0.1:1"], start_timeout=1)

    counted, took = counted_during(call)
    assert took > 0.8
    assert counted > 10_000


def test_others_run_while_a_put_waits(halved: distkv.Node) -> None:
    def call() -> None:
        with halved.client() as client, pytest.raises(distkv.Error) as caught:
            client.put("k", "v", timeout=1)
        assert caught.value.retryable

    counted, took = counted_during(call)
    assert took > 0.8
    assert counted > 10_000


def test_a_waiting_put_tells_the_time(halved: distkv.Node) -> None:
    with halved.client() as client:
        began = time.monotonic()
        with pytest.raises((distkv.TimeoutError, distkv.UnavailableError)):
            client.put("k", "v", timeout=1)
        assert 0.5 < time.monotonic() - began < 4


def test_one_client_serves_many_threads(db: distkv.Client) -> None:
    def work(thread: int) -> list[int]:
        revisions = []
        for n in range(50):
            key, value = f"thread {thread} {n}", f"{thread}:{n}"
            revisions.append(db.put(key, value, timeout=30))
            assert db.get(key, timeout=30) == value.encode()
        return revisions

    with ThreadPoolExecutor(16) as pool:
        assert all(len(revisions) == 50 for revisions in pool.map(work, range(16)))
    for thread in range(16):
        for n in range(50):
            assert db.get(f"thread {thread} {n}") == f"{thread}:{n}".encode()


def test_many_threads_may_close_at_once(node: distkv.Node) -> None:
    for _ in range(20):
        client = node.client()
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(client.close) for _ in range(4)]
            futures += [pool.submit(client.get, "k") for _ in range(4)]
        for future in futures:
            error = future.exception()
            assert error is None or isinstance(error, (distkv.ClosedError, distkv.CancelledError))
