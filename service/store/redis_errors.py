"""Why Redis cannot be used, and what to do, in one sentence."""

from __future__ import annotations

import socket

from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError

from service.store.tls_errors import explain_tls

TEMPORARY_TYPES = (ReadOnlyError, MasterDownError)  # of error replies, as TEMPORARY_ERRORS
# Beginnings of the error replies by which Redis refuses a command for now.
TEMPORARY_ERRORS = (
    *("MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED", "WAIT cannot be used with replica"),
    "The user executing the script can't run",
)

# Error replies, by their beginning; the texts complete "Redis at HOST:PORT ...".
_REPLIES = (
    (
        "MISCONF",
        "refuses writes because it cannot save to its disk (MISCONF); free space or correct its folder",
    ),
    ("NOREPLICAS", "refuses writes because it has too few replicas (NOREPLICAS); start them"),
    ("BUSY", "is busy with another program's script (BUSY); stop it with SCRIPT KILL"),
    (
        "The user executing the script can't run",
        "refuses a command to the ACL user of the state URL; set its rights as in docs/redis.md",
    ),
    ("LOADING", "is still loading its data (LOADING); wait until it is ready"),
    ("DB index", "has no database of this number; correct the number at the end of the state URL"),
    ("invalid DB index", "has no database of this number; correct the number at the end of the state URL"),
    ("max number of clients", "has no connection left; raise its maxclients"),
)
_ERRORS = (
    (
        ReadOnlyError,
        "is a replica and refuses writes (READONLY); name the primary or its sentinels in the URL",
    ),
    (MasterDownError, "is a replica without its primary (MASTERDOWN); name the primary, or start it"),
    (OutOfMemoryError, "has no memory left for events (OOM); raise its maxmemory"),
)


def explain_reply(error: BaseException) -> str | None:
    """Explain an error reply, or return None if it is not known."""
    text = str(error)
    for kind, sentence in _ERRORS:
        if isinstance(error, kind):
            return sentence
    return next((sentence for start, sentence in _REPLIES if text.startswith(start)), None)


def explain_fault(error: BaseException) -> str | None:
    """Explain an error or its cause; None if unknown.

    The client library hides the system's error behind one of its own.
    """
    explained = (explain_reply(cause) or _explain_cause(cause) for cause in _chain(error))
    return next(filter(None, explained), None)


def explain_connection(error: BaseException, *, tls: bool) -> str:
    """Explain why there is no connection."""
    if found := explain_fault(error):
        return found
    if tls:
        return "closes the connection; start it, use redis:// if it has no TLS, or name the ssl_certfile it asks for"
    if any(isinstance(cause, ConnectionResetError) for cause in _chain(error)):
        return "closes the connection; start it, or use rediss:// if it speaks TLS"
    return "cannot be reached; start it or correct the state URL"


def _explain_cause(error: BaseException) -> str | None:
    if sentence := explain_tls(error):
        return sentence
    if isinstance(error, socket.gaierror):
        return "has a host name that cannot be resolved; correct the state URL"
    if isinstance(error, ConnectionRefusedError):
        return "cannot be reached; start it or correct the state URL"
    return None


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (following := found[-1].__cause__ or found[-1].__context__) and following not in found:
        found.append(following)
    return found
