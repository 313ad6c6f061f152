"""The demo's parts, without a cluster."""

import json
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import demo
import distkv
import pytest
import records
from members import Command, MemberFailed, Members
from workers import Writers, patiently, read_back

SOME = [(f"key {n}", f"value {n}".encode()) for n in range(1000)]


class Store(dict[str, bytes]):
    """A client's verbs over a dictionary."""

    def put(self, key: str, value: bytes) -> int:
        self[key] = value
        return len(self)


class Flaky(Store):
    """The same, failing the first calls, and letting the others wait until a leader is there."""

    def __init__(self, failures: int, error: type[distkv.Error]) -> None:
        self.failures, self.error = failures, error

    def put(self, key: str, value: bytes) -> int:
        if self.failures:
            self.failures -= 1
            raise self.error("not now")
        return super().put(key, value)


def test_every_assigned_character_is_a_record() -> None:
    everything = list(records.records())
    assert len(everything) > 140_000
    if unicodedata.unidata_version == "14.0.0":
        assert len(everything) == 144_762
    by_key = dict(everything)
    assert len(by_key) == len(everything)
    assert json.loads(by_key["U+1F600"]) == {
        "name": "GRINNING FACE",
        "category": "So",
        "numeric": None,
    }
    assert json.loads(by_key["U+00BD"])["numeric"] == 0.5
    assert json.loads(by_key["U+0000"]) == {"name": None, "category": "Cc", "numeric": None}
    for left_out in ("U+D800", "U+E000", "U+0378"):
        assert left_out not in by_key


def test_patience_is_for_errors_that_pass() -> None:
    store = Flaky(2, distkv.UnavailableError)
    assert patiently(lambda: store.put("k", b"v")) == 1
    with pytest.raises(distkv.UnavailableError):
        patiently(lambda: Flaky(9, distkv.UnavailableError).put("k", b"v"), patience=0)
    store = Flaky(1, distkv.InvalidArgumentError)
    with pytest.raises(distkv.InvalidArgumentError):
        patiently(lambda: store.put("k", b"v"))
    assert store == {}


def test_writers_write_everything_through_failures() -> None:
    store = Flaky(20, distkv.TimeoutError)
    with Writers(store, SOME, threads=8) as writers:
        assert writers.wait(30)
    assert store == dict(SOME)
    assert writers.acknowledged == store.keys() and not writers.refused


def test_what_is_refused_is_not_acknowledged() -> None:
    store = Flaky(1, distkv.CorruptionError)
    with Writers(store, SOME, threads=1) as writers:
        assert writers.wait(30)
    assert writers.refused.keys() == {"key 0"}
    assert len(writers.acknowledged) == len(SOME) - 1


def test_the_wait_for_a_leader_is_measured_from_its_loss() -> None:
    back = threading.Event()

    class Stuck(Store):
        def put(self, key: str, value: bytes) -> int:
            if key == "key 500":
                back.wait(30)
            return super().put(key, value)

    with Writers(Stuck(), SOME, threads=4) as writers:
        until = time.monotonic() + 30
        while len(writers.acknowledged) < len(SOME) - 1:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.3)  # before the loss: not counted
        lost = time.monotonic()
        writers.lose_leader()
        time.sleep(0.2)
        waited = time.monotonic() - lost
        back.set()
        assert writers.wait(30)
    assert waited <= writers.longest_wait < waited + 0.25


def test_writers_stop_when_told() -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        with Writers(Flaky(10**9, distkv.UnavailableError), SOME, threads=2) as writers:
            raise ZeroDivisionError
    assert writers.wait(0) and not writers.acknowledged
    assert time.monotonic() - began < 5


def test_a_broken_writer_is_heard_of() -> None:
    with Writers(None, SOME, threads=2) as writers:  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            writers.wait(30)


def test_reading_back_finds_what_is_lost_and_wrong() -> None:
    store, read = Store(SOME), 0

    def progress(n: int) -> None:
        nonlocal read
        read += n

    assert read_back(store, SOME, 4, progress, at_once=7) == (set(), set())
    assert read == len(SOME)
    del store["key 7"]
    store["key 999"] = b"another"
    assert read_back(store, SOME, 4) == ({"key 7"}, {"key 999"})


def test_the_result_is_good_only_if_nothing_is_missing() -> None:
    good = demo.Result(1000, acknowledged=1000, without_leader=1.234, writes_a_second=4321)
    assert good.good()
    assert good.table("here").splitlines() == [
        "records                   1,000",
        "acknowledged              1,000",
        "lost                      0",
        "wrong                     0",
        "seconds without a leader  1.23",
        "writes/s                  4,321",
        "data                      here",
    ]
    assert not demo.Result(1000, acknowledged=999).good()
    assert not demo.Result(1, acknowledged=1, lost={"k"}).good()
    assert not demo.Result(1, acknowledged=1, wrong={"k"}).good()


def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("data")
    with ExitStack() as stack, pytest.raises(SystemExit, match="must be empty"):
        demo.home_for(tmp_path, stack)


READY = "print('ready node=0a listen=127.0.0.1:1 cluster=0b', flush=True);"


def program(code: str) -> Command:
    def command(data_dir: str, join: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", code, data_dir, *join]

    return command


def test_members_are_started_killed_restarted_and_stopped(tmp_path: Path) -> None:
    sleep = program(READY + "import time; time.sleep(600)")
    with Members(tmp_path) as members:
        first = members.start("first", sleep)
        second = members.start("second", sleep, [first.address])
        assert (first.id, first.address, first.cluster) == ("0a", "127.0.0.1:1", "0b")
        members.kill(first)
        assert first.process.returncode == -9
        assert second.process.poll() is None
        again = members.restart(first, [second.address])
        assert again.process.args[-2:] == [str(tmp_path / "first"), second.address]  # type: ignore[index]
    assert (second.process.returncode, again.process.returncode) == (-15, -15)


def test_members_are_stopped_when_the_program_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        with Members(tmp_path) as members:
            member = members.start("one", program(READY + "import time; time.sleep(600)"))
            raise ZeroDivisionError
    assert member.process.returncode == -15


@pytest.mark.parametrize("code", ["import sys; sys.exit('on purpose')", "print('on purpose')"])
def test_a_member_that_does_not_start_says_why(tmp_path: Path, code: str) -> None:
    with Members(tmp_path) as members, pytest.raises(MemberFailed, match="on purpose"):
        members.start("bad", program(code))


def test_an_embedded_node_says_that_it_is_ready_and_ends_well(tmp_path: Path) -> None:
    with Members(tmp_path) as members:
        member = members.start("node", demo.embedded)
        assert member.id and member.cluster and member.address.startswith("127.0.0.1:")
    assert member.process.returncode == 0
    assert (tmp_path / "node.log").read_text() == ""


class Client(Store):
    """A client of a cluster that is nothing but a dictionary."""

    def __init__(self, address: str) -> None:
        self.node = address.partition(":")[0]

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put(self, key: str, value: bytes) -> int:
        CLUSTER[key] = value
        return 1

    def get(self, key: str) -> bytes | None:  # type: ignore[override]
        return CLUSTER.get(key)

    def status(self) -> distkv.Status:
        return distkv.Status(
            node=self.node,
            cluster="c",
            address=f"{self.node}:1",
            version="0",
            epoch=3,
            partitions=64,
            replication_factor=3,
            replicas=64,
            leaders={"python-1": 20, "python-2": 24, "standalone": 20}[self.node],
            leaderless=0,
            lagging=0,
            moves=0,
            under_replicated=0,
            durable=True,
            damaged=0,
            full=False,
            leaving=False,
            metadata_leader=None,
            snapshot_bytes_received=0,
        )


class Forgetful(Client):
    """A client of a cluster that keeps all but one record, and spoils another."""

    def put(self, key: str, value: bytes) -> int:
        if key != "U+0041":
            CLUSTER[key] = b"spoilt" if key == "U+0042" else value
        return 1


CLUSTER: dict[str, bytes] = {}
# A process that says that it is ready, by the name of its data directory, and waits for its end.
NAMED = program(
    "import os, sys, time; os.makedirs(sys.argv[1], exist_ok=True);"
    "name = os.path.basename(sys.argv[1]);"
    "print(f'ready node={name} listen={name}:1 cluster=c', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize(
    ("client", "status", "counted"),
    [(Client, 0, ("0", "0")), (Forgetful, 1, ("1", "1"))],
    ids=["keeps all", "loses some"],
)
def test_the_story_from_its_beginning_to_its_end(
    client: type[Client],
    status: int,
    counted: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    CLUSTER.clear()
    home = tmp_path / "home"
    monkeypatch.setattr(distkv, "connect", client)
    monkeypatch.setattr(demo, "embedded", NAMED)
    monkeypatch.setattr(demo, "standalone", lambda binary: NAMED)
    arguments = ["--records", "2000", "--threads", "4", "--data-dir", str(home)]
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments, "--distkv", sys.executable])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert demo.main() == status
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().out
    assert "killed python-2" in said and "back through python-2" in said
    table = dict(line.split("  ", 1) for line in said.splitlines() if "  " in line and "[" not in line)
    table = {name: value.strip() for name, value in table.items()}
    assert (table["records"], table["acknowledged"]) == ("2,000", "2,000")
    assert (table["lost"], table["wrong"]) == counted
    assert str(home) in table["data"]
    assert {path.name for path in home.iterdir() if path.is_dir()} == {
        "python-1",
        "python-2",
        "standalone",
    }
