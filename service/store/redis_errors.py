"""Why Redis cannot be used, and what to do, in one sentence."""

from __future__ import annotations

import socket
import ssl

from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError

# Error replies, by their beginning; the texts complete "Redis at HOST:PORT ...".
_REPLIES = (
    (
        "MISCONF",
        "refuses writes because it cannot save to its disk (MISCONF); free space or correct its folder",
    ),
    ("NOREPLICAS", "refuses writes because it has too few replicas (NOREPLICAS); start them"),
    ("BUSY", "is busy with another program's script (BUSY); stop it with SCRIPT KILL"),
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
# Reasons by which OpenSSL refuses a file.
_NO_PEM = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE")


def explain_reply(error: BaseException) -> str | None:
    """Explain an error reply, or return None if it is not known."""
    text = str(error)
    for kind, sentence in _ERRORS:
        if isinstance(error, kind):
            return sentence
    return next((sentence for start, sentence in _REPLIES if text.startswith(start)), None)


def explain_connection(error: BaseException, *, tls: bool) -> str:
    """Explain why there is no connection.

    The client library hides the system's error behind one of its own.
    """
    causes = _chain(error)
    known = (explain_reply(cause) or _explain_cause(cause) for cause in causes)
    if found := next(filter(None, known), None):
        return found
    if tls:
        return "cannot be reached with TLS; use redis:// if it has none, or add the ssl_certfile it asks for"
    if any(isinstance(cause, ConnectionResetError) for cause in causes):
        return "closes the connection; start it, or use rediss:// if it speaks TLS"
    return "cannot be reached; start it or correct the state URL"


def _explain_cause(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that is not trusted ({error.verify_message.rstrip('.')}); "
            "name its authority with ?ssl_ca_certs=FILE, and the host as the certificate does"
        )
    # Errors of reading a file, not of the connection.
    if isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "reason", "") in _NO_PEM:
        return "cannot be tried because a TLS file cannot be read; correct ssl_ca_certs and the like in the state URL"
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
