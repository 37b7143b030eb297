"""Certificates of a made-up authority, as files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import trustme

HOST = "127.0.0.1"
_DAY = timedelta(days=1)


class Authority:
    """Certificate authority that writes certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(self.path("ca")))

    def path(self, name: str, suffix: str = "pem") -> Path:
        return self.folder / f"{name}.{suffix}"

    def issue(self, name: str, host: str = HOST, *, authority: trustme.CA | None = None, **validity: datetime) -> str:
        """Write NAME.pem and NAME.key; return the name."""
        certificate = (authority or self._authority).issue_cert(host, **validity)  # type: ignore[arg-type]
        certificate.cert_chain_pems[0].write_to_path(str(self.path(name)))
        certificate.private_key_pem.write_to_path(str(self.path(name, "key")))
        return name

    def issue_all(self) -> None:
        """Write one certificate of each kind, good and bad."""
        now = datetime.now()
        for side in ("server", "client"):
            self.issue(side)
            self.issue(f"{side}-expired", not_before=now - 9 * _DAY, not_after=now - _DAY)
            self.issue(f"{side}-future", not_before=now + 2 * _DAY, not_after=now + 9 * _DAY)
            self.issue(f"{side}-stranger", authority=trustme.CA())
        self.issue("server-elsewhere", "elsewhere.example")
        self.issue("client-mixed")
        self.path("client-mixed", "key").write_bytes(self.path("server", "key").read_bytes())

    def redis_options(self, server: str, *, clients: bool) -> dict[str, str]:
        """Return a Redis server's options; `clients` asks clients for certificates."""
        return {
            "tls_cert_file": str(self.path(server)),
            "tls_key_file": str(self.path(server, "key")),
            "tls_ca_cert_file": str(self.path("ca")),
            "tls_auth_clients": "yes" if clients else "no",
        }

    def query(self, client: str | None = None, **options: Any) -> str:
        """Return the query of a state URL, for `client` if given."""
        files = {"ssl_certfile": self.path(client), "ssl_keyfile": self.path(client, "key")} if client else {}
        return "?" + urlencode({"ssl_ca_certs": self.path("ca"), **files, **options})
