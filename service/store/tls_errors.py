"""Why a TLS connection to Redis fails, in one sentence."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

# OpenSSL's codes of a failed verification (x509_vfy.h); the texts complete "Redis at HOST:PORT ...".
_UNTRUSTED = "has a certificate that is not trusted ({reason}); name its authority with ?ssl_ca_certs=FILE"
_OTHER_HOST = "has a certificate for another host ({reason}); use the certificate's host in the state URL"
_VERIFICATION = {
    9: "has a certificate that is not valid yet; correct this machine's clock, or the certificate",
    10: "has a certificate that has expired; renew it",
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
# Reasons by which OpenSSL or the server refuses, by a part of their name. Alerts are the server's.
_REASONS = (
    (
        "ALERT_CERTIFICATE_REQUIRED",
        "asks for a client certificate; add ssl_certfile and ssl_keyfile to the URL",
    ),
    ("ALERT_CERTIFICATE_EXPIRED", "refuses the client certificate because it has expired; renew ssl_certfile"),
    (
        "ALERT_UNKNOWN_CA",
        "refuses the client certificate because it does not know its authority; use a ssl_certfile of the authority "
        "in Redis' tls-ca-cert-file",
    ),
    ("ALERT_BAD_CERTIFICATE", "refuses the client certificate; correct ssl_certfile"),
    ("ALERT_CERTIFICATE_UNKNOWN", "refuses the client certificate; correct ssl_certfile"),
    ("ALERT_CERTIFICATE_REVOKED", "refuses the client certificate because it is revoked; renew ssl_certfile"),
    (
        "ALERT_HANDSHAKE_FAILURE",
        "refuses the TLS handshake; add the ssl_certfile that it asks for",
    ),
    ("PROTOCOL_VERSION", "has no TLS version in common with this machine; allow TLSv1.2 or TLSv1.3 in tls-protocols"),
    ("UNSUPPORTED_PROTOCOL", "has no TLS version in common with this machine; allow TLSv1.2 or TLSv1.3"),
    ("WRONG_VERSION_NUMBER", "does not speak TLS on this port; use redis://, or its tls-port"),
    ("KEY_VALUES_MISMATCH", "cannot be tried because ssl_keyfile is not the key of ssl_certfile"),
)
_UNREADABLE = "cannot be tried because a TLS file cannot be read; correct ssl_ca_certs and the like in the state URL"
# A server without TLS may wait for the end of its line, and a server that accepts the certificate says nothing.
_PROBE_SECONDS = 1.0


def explain_tls(error: BaseException) -> str | None:
    """Explain an error of TLS; None if unknown."""
    if isinstance(error, ssl.SSLCertVerificationError):
        sentence = _VERIFICATION.get(error.verify_code, _UNTRUSTED)
        return sentence.format(reason=error.verify_message.rstrip("."))
    # Errors of reading a file, not of the connection. OpenSSL gives no reason for a file without a key.
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return _UNREADABLE
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or str(error).upper().replace(" ", "_")
    if any(part in reason for part in ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE")):
        return _UNREADABLE
    return next((sentence for part, sentence in _REASONS if part in reason), None)


def find_tls_fault(addresses: Iterable[tuple[str, int]], options: Mapping[str, Any]) -> str | None:
    """Connect to each server by TLS; return the first fault.

    A client that has sent a command may miss why it is refused, because the closed connection drops the server's
    alert. So the probe sends nothing after the handshake.

    Args:
        addresses: host and port of each server.
        options: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_check_hostname`, where given.
    """
    for host, port in addresses:
        if fault := _fault_of(host, port, options):
            return f"Redis at {host}:{port} {fault}"
    return None


def _fault_of(host: str, port: int, options: Mapping[str, Any]) -> str | None:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        context.check_hostname = options.get("ssl_check_hostname", True)
        if "ssl_certfile" in options:
            # With a password, OpenSSL does not ask for one on the terminal if the key is encrypted.
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), password="")
        with socket.create_connection((host, port), _PROBE_SECONDS) as plain:
            try:
                connection = context.wrap_socket(plain, server_hostname=host)
            except TimeoutError:
                return "does not answer with TLS; use redis:// if it has none, or its tls-port"
            with connection, suppress(TimeoutError):
                connection.recv(1)
    except OSError as error:
        return explain_tls(error)
    return None
