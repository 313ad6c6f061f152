"""distkv: a strongly consistent, distributed key-value store inside the process that uses it.

    import distkv

    with distkv.open("data") as db:          # a store of one node, in this process
        db.put("greeting", "hello")

    with distkv.Node("n2", join=["10.0.0.1:7400"]) as node:   # a member of a cluster
        node.client().get("greeting")

    with distkv.connect("10.0.0.1:7400,10.0.0.2:7400") as db:  # a client of one
        db.get("greeting")

All three lead to the same verbs, those of `Client`. Calls block without holding the GIL, may be made
from any thread, and end at Ctrl-C. Errors are subclasses of `Error`. Whatever is still open when the
interpreter ends is closed then.
"""

import atexit

from . import _native
from ._entry import Entry
from ._errors import (
    CancelledError,
    ClosedError,
    ConflictError,
    CorruptionError,
    Error,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    SessionExpiredError,
    StorageFullError,
    TimeoutError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    WouldDeadlockError,
    WrongClusterError,
)
from ._native import Client, Node, __version__, connect, open
from ._ring import Move, Newcomer, NodeLoad, Plan, PlannedLoad, PlannedMove, Ring, Tuning
from ._status import Member, Status

__all__ = [
    "CancelledError",
    "Client",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "Entry",
    "Error",
    "ForkedError",
    "InternalError",
    "InvalidArgumentError",
    "Member",
    "Move",
    "Newcomer",
    "Node",
    "NodeLoad",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "Plan",
    "PlannedLoad",
    "PlannedMove",
    "Ring",
    "SessionExpiredError",
    "Status",
    "StorageFullError",
    "TimeoutError",
    "TooLargeError",
    "Tuning",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "WouldDeadlockError",
    "WrongClusterError",
    "__version__",
    "connect",
    "open",
]

atexit.register(_native.close_all)
