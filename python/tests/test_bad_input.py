"""Every bad input is refused with an error that names it."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distkv
import pytest

KEY = 16 * 1024
VALUE = 8 * 1024 * 1024
# Nothing listens on port 1.
NOBODY = "127.0.0.1:1"


def every_verb(db: distkv.Client, key: Any) -> list[Callable[[], Any]]:
    return [
        lambda: db.put(key, b"value"),
        lambda: db.get(key),
        lambda: db.get_entry(key),
        lambda: db.delete(key),
    ]


def test_an_empty_key(db: distkv.Client) -> None:
    for verb in every_verb(db, b""):
        with pytest.raises(distkv.InvalidArgumentError, match="key is empty"):
            verb()


def test_a_key_that_is_too_large(db: distkv.Client) -> None:
    for verb in every_verb(db, b"k" * (KEY + 1)):
        with pytest.raises(distkv.TooLargeError, match=f"bytes=`{KEY + 1}` limit=`{KEY}`") as e:
            verb()
        assert not e.value.retryable and not e.value.maybe_applied


def test_a_value_that_is_too_large(db: distkv.Client) -> None:
    with pytest.raises(distkv.TooLargeError, match=f"bytes=`{VALUE + 1}` limit=`{VALUE}`"):
        db.put("large", bytes(VALUE + 1))
    assert db.get("large") is None


@pytest.mark.parametrize("bad", [1, 1.5, None, ["k"], object(), memoryview(b"1234").cast("I")])
def test_a_key_or_value_of_the_wrong_type(db: distkv.Client, bad: Any) -> None:
    name = type(bad).__name__
    for verb in every_verb(db, bad):
        with pytest.raises(TypeError, match=f"key must be bytes, .*not `{name}`"):
            verb()
    with pytest.raises(TypeError, match=f"value must be bytes, .*not `{name}`"):
        db.put("key", bad)


def test_text_that_is_no_utf_8(db: distkv.Client) -> None:
    with pytest.raises(UnicodeEncodeError):
        db.put("\ud800", "value")


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e300])
def test_a_timeout_out_of_range(db: distkv.Client, timeout: float) -> None:
    for call in (
        lambda: db.put("k", "v", timeout=timeout),
        lambda: db.get("k", timeout=timeout),
        lambda: distkv.connect(NOBODY, timeout=timeout),
    ):
        with pytest.raises(distkv.InvalidArgumentError, match="argument=`timeout`"):
            call()
    with pytest.raises(distkv.InvalidArgumentError, match="argument=`start_timeout`"):
        distkv.Node(start_timeout=timeout)


@pytest.mark.parametrize(
    "call",
    [
        lambda: distkv.Node(listen=7400),
        lambda: distkv.Node(join="127.0.0.1:7400"),
        lambda: distkv.Node(join=[7400]),
        lambda: distkv.Node(partitions="64"),
        lambda: distkv.Node(weight="heavy"),
        lambda: distkv.Node(5),
        lambda: distkv.Node(unknown=1),
        lambda: distkv.connect(7400),
        lambda: distkv.connect(),
        lambda: distkv.open(5),
        lambda: distkv.open(None),
        lambda: distkv.Client(),
    ],
)
def test_an_option_of_the_wrong_type(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        call()


def test_a_timeout_of_the_wrong_type(db: distkv.Client) -> None:
    with pytest.raises(TypeError, match="timeout"):
        db.get("k", timeout="1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("listen", "here", "listen=`here`"),
        ("listen", "127.0.0.1", "listen=`127.0.0.1`"),
        ("listen", "127.0.0.1:99999", "listen=`127.0.0.1:99999`"),
        ("advertise", "nowhere", "address=`nowhere`"),
        ("join", ["127.0.0.1"], "address=`127.0.0.1`"),
        ("join", ["127.0.0.1:0"], "address=`127.0.0.1:0`"),
        ("partitions", 48, "setting=`partitions` value=`48`"),
        ("partitions", -1, "setting=`partitions` value=`-1`"),
        ("partitions", 1_000_000, "setting=`partitions` value=`1000000`"),
        ("replication_factor", 0, "setting=`replication_factor` value=`0`"),
        ("replication_factor", 300, "setting=`replication_factor` value=`300`"),
        ("vnodes", 0, "setting=`vnodes` value=`0`"),
        ("weight", 0.0, "weight out of range"),
        ("weight", float("nan"), "weight out of range"),
        ("memory_limit", 1 << 20, "setting=`memory_limit` value=`1048576` least=`16777216`"),
        ("log_budget", -1, "setting=`log_budget` value=`-1`"),
        ("disk_reserve", 1, "setting=`disk_reserve` value=`1`"),
        ("snapshot_rate", 0, "setting=`snapshot_rate` value=`0`"),
        ("compaction_rate", 1 << 40, "setting=`compaction_rate` value=`1099511627776`"),
    ],
)
def test_an_option_out_of_range(option: str, value: Any, named: str) -> None:
    with pytest.raises(distkv.InvalidArgumentError, match=re.escape(named)):
        distkv.Node(**{option: value})


@pytest.mark.parametrize("endpoints", ["", "127.0.0.1", "127.0.0.1:0", f"{NOBODY},", "a b:1"])
def test_an_endpoint_that_does_not_parse(endpoints: str) -> None:
    with pytest.raises(distkv.InvalidArgumentError, match="address does not parse"):
        distkv.connect(endpoints)


def test_connecting_to_nobody() -> None:
    began = time.monotonic()
    with pytest.raises(distkv.UnavailableError) as caught:
        distkv.connect(NOBODY, timeout=0.5)
    assert time.monotonic() - began < 5
    assert caught.value.retryable and not caught.value.maybe_applied


def test_joining_nobody() -> None:
    began = time.monotonic()
    with pytest.raises(distkv.UnavailableError, match=re.escape(NOBODY)):
        distkv.Node(join=[NOBODY], start_timeout=0.5)
    assert time.monotonic() - began < 5


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(distkv.InvalidArgumentError, match=address):
            distkv.Node(listen=address)


def test_a_directory_in_use_by_this_process(tmp_path: Path) -> None:
    with distkv.open(tmp_path):
        with pytest.raises(distkv.InvalidArgumentError, match=re.escape(str(tmp_path))):
            distkv.open(tmp_path)
    distkv.open(tmp_path).close()


def test_a_directory_in_use_by_another_process(tmp_path: Path) -> None:
    program = "import distkv, sys; db = distkv.open(sys.argv[1]); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(distkv.InvalidArgumentError, match=re.escape(str(tmp_path))):
            distkv.open(tmp_path)
        other.communicate("\n", timeout=30)
    distkv.open(tmp_path).close()


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a directory")
    with pytest.raises(distkv.Error, match=re.escape(str(path))):
        distkv.open(path)
    assert path.read_text() == "not a directory"


def test_settings_other_than_the_clusters(node: distkv.Node) -> None:
    with pytest.raises(distkv.InvalidArgumentError, match="partitions"):
        distkv.Node(join=[node.address], partitions=128)
