"""put, get, get_entry and delete, and the types they take and give."""

import array
from typing import Any

import distkv
import pytest


def test_what_is_put_is_got(db: distkv.Client) -> None:
    assert db.get(b"put") is None
    revision = db.put(b"put", b"value")
    assert isinstance(revision, int)
    assert db.get(b"put") == b"value"
    assert db.get_entry(b"put") == distkv.Entry(b"value", revision)
    assert db.put(b"put", b"another") > revision
    assert db.get(b"put") == b"another"


def test_an_entry_comes_apart(db: distkv.Client) -> None:
    db.put(b"entry", b"value")
    entry = db.get_entry(b"entry")
    assert entry is not None
    value, revision = entry
    assert (value, revision) == (entry.value, entry.revision) and revision > 0


def test_delete_says_whether_there_was_anything(db: distkv.Client) -> None:
    db.put(b"delete", b"value")
    assert db.delete(b"delete") is True
    assert db.delete(b"delete") is False
    assert db.get(b"delete") is None
    assert db.get_entry(b"delete") is None


def test_a_condition_that_does_not_hold_changes_nothing(db: distkv.Client) -> None:
    revision = db.put("condition", "first", if_absent=True)
    with pytest.raises(distkv.ConflictError) as conflict:
        db.put("condition", "never", if_absent=True)
    assert conflict.value.revision == revision
    second = db.put("condition", "second", if_revision=revision)
    with pytest.raises(distkv.ConflictError) as conflict:
        db.delete("condition", if_revision=revision)
    assert conflict.value.revision == second
    assert db.get("condition") == b"second"
    assert db.delete("condition", if_revision=second) is True
    with pytest.raises(distkv.ConflictError) as conflict:
        db.put("condition", "never", if_revision=second)
    assert conflict.value.revision == 0
    with pytest.raises(distkv.InvalidArgumentError, match="absent"):
        db.put("condition", "never", if_absent=True, if_revision=3)
    with pytest.raises(distkv.InvalidArgumentError, match="if_revision"):
        db.put("condition", "never", if_revision=-1)
    assert db.get("condition") is None


def test_reads_may_trust_a_lease(db: distkv.Client) -> None:
    db.put("lease", "value")
    assert db.get("lease", consistency="lease") == b"value"
    assert db.get_entry("lease", consistency="linearizable") is not None
    other: Any = "eventual"
    with pytest.raises(distkv.InvalidArgumentError, match="consistency=`eventual`"):
        db.get("lease", consistency=other)


@pytest.mark.parametrize(
    "given",
    [
        b"caf\xc3\xa9",
        "café",
        bytearray(b"caf\xc3\xa9"),
        memoryview(b"caf\xc3\xa9"),
        memoryview(b".c.a.f.\xc3.\xa9")[1::2],
        array.array("B", b"caf\xc3\xa9"),
    ],
    ids=["bytes", "str", "bytearray", "memoryview", "strided", "array"],
)
def test_bytes_come_in_many_guises(db: distkv.Client, given: Any) -> None:
    db.put(given, given)
    assert db.get("café") == "café".encode()
    got = db.get(given)
    assert type(got) is bytes
    assert db.delete(given) is True


def test_what_is_put_is_a_copy(db: distkv.Client) -> None:
    value = bytearray(b"before")
    db.put("copy", value)
    value[:] = b"after!"
    assert db.get("copy") == b"before"


@pytest.mark.parametrize("size", [0, 1, 100_000, 8 * 1024 * 1024])
def test_values_from_none_to_the_limit(db: distkv.Client, size: int) -> None:
    value = bytes(i % 251 for i in range(min(size, 1000))) * max(1, size // 1000)
    value = value[:size].ljust(size, b".")
    db.put(f"size {size}", value, timeout=30)
    assert db.get(f"size {size}", timeout=30) == value


def test_keys_up_to_the_limit_and_of_any_bytes(db: distkv.Client) -> None:
    for key in (b"k" * 16 * 1024, bytes(range(256)), b"\0"):
        db.put(key, b"value")
        assert db.get(key) == b"value"


def test_a_timeout_of_ones_own(db: distkv.Client) -> None:
    db.put("timeout", "value", timeout=30)
    assert db.get("timeout", timeout=30.5) == b"value"
    assert db.get_entry("timeout", timeout=None) is not None
    assert db.delete("timeout", timeout=30) is True
