"""What a key holds."""

from typing import NamedTuple


class Entry(NamedTuple):
    """A value and the revision that wrote it."""

    value: bytes
    """The value."""
    revision: int
    """The revision of its partition when it was written; compares only within a partition."""
