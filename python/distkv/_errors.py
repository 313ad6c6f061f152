"""The exceptions: one class for each kind of error that distkv knows.

What the kinds are, and what each means for a retry, is decided by the table in the library; the loop
at the end gives every class its row, and fails if one of the two lacks what the other has.
"""

import builtins

from . import _native


class Error(Exception):
    """Anything that went wrong in distkv. Catch it, or one of its subclasses."""

    code: int = 0
    """The kind's number, the same in every language."""
    kind: str = ""
    """The kind's name, the same in every language."""
    retryable: bool = False
    """Whether the same call may succeed if made again."""
    maybe_applied: bool = False
    """Whether a write may have been applied although the call failed."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class InvalidArgumentError(Error, ValueError):
    """The caller asked for something that makes no sense; the message names it."""


class NotFoundError(Error):
    """An administrative object does not exist. A missing key is no error."""


class ConflictError(Error):
    """A condition did not hold."""

    revision: int | None = None
    """The revision in force."""


class TooLargeError(Error, ValueError):
    """Something is above its limit; the message names both."""


class UnavailableError(Error):
    """No quorum or no leader in time. Nothing was applied."""


class TimeoutError(Error, builtins.TimeoutError):
    """The time was up. A write may or may not have been applied."""


class OverloadedError(Error):
    """A queue or table is full; later may be better."""


class StorageFullError(Error):
    """The disk is full. Heals when space returns."""


class CorruptionError(Error):
    """Stored bytes are not what was written."""


class UnauthenticatedError(Error):
    """The caller did not say who it is."""


class PermissionDeniedError(Error):
    """The caller may not do that."""


class ClosedError(Error):
    """The node or client was closed."""


class ForkedError(Error):
    """The node or client was opened before a fork and used in the child."""


class WouldDeadlockError(Error):
    """A blocking call inside a callback."""


class WrongClusterError(Error):
    """The other side belongs to another cluster."""


class CancelledError(Error):
    """The call was cancelled, for instance because its node or client was closed."""


class UnsupportedError(Error):
    """The other side is of another version and cannot do this."""


class InternalError(Error):
    """A defect in distkv."""


class SessionExpiredError(Error):
    """The retry came too late to be recognized as one."""


def _by_code() -> dict[int, type[Error]]:
    classes = {cls.__name__: cls for cls in Error.__subclasses__()}
    by_code = {}
    for code, kind, retryable, maybe_applied in _native.KINDS:
        cls = classes.pop(f"{kind}Error")
        cls.code, cls.kind = code, kind
        cls.retryable, cls.maybe_applied = retryable, maybe_applied
        cls.__module__ = "distkv"  # where users import it from, and what tracebacks show
        by_code[code] = cls
    if classes:
        raise ImportError(f"distkv has no such kinds of error: {', '.join(classes)}")
    Error.__module__ = "distkv"
    return by_code


CLASSES = _by_code()
