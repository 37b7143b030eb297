"""Errors of opening a store, and of stored data of another release."""

from __future__ import annotations

from service.core.errors import StoreUnavailable


class StoreRefusedError(Exception):
    """The store cannot be opened as configured.

    The message is one sentence that says what to do. It contains no secrets.
    """


class StoreUnreachableError(StoreRefusedError):
    """The store does not answer; a later attempt may succeed."""


def unknown_format(finding: str) -> StoreUnavailable:
    """Return the error for a stored value of another release.

    `finding` names the value and its format. Only the affected user's requests fail, and during an upgrade another
    worker may be able to serve them.
    """
    return StoreUnavailable(
        "the event log has data of another release",
        for_log=f"{finding}, which this release cannot read; run the release that wrote it",
    )
