"""Real proxies with and without a prefix, as the documentation has them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conformance.program_clients import program
from tests.deployments import wait_for
from tests.docs.pages import ROOT, replaced, text_under
from tests.servers import free_port

PAGE = ROOT / "docs" / "operations" / "https.md"  # whose configurations with a prefix are these
PREFIX = "/recommender"


class Way(NamedTuple):
    """A way to the service.

    Attributes:
        name: For test names.
        base: URL in front of the service's paths.
        decodes_paths: Whether `%2F` in a path becomes a slash.
    """

    name: str
    base: str
    decodes_paths: bool = False


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{plain};
        location / {{
            proxy_pass http://127.0.0.1:{service};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Request-ID $request_id;
        }}
    }}
    server {{
        listen 127.0.0.1:{kept};
        {page[0]}
    }}
    server {{
        listen 127.0.0.1:{removed};
        {page[1]}
    }}
}}
"""

_HAPROXY = """
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend plain
    bind 127.0.0.1:{plain}
    default_backend whole
frontend kept
    bind 127.0.0.1:{kept}
    use_backend whole if {{ path {prefix} }} || {{ path_beg {prefix}/ }}
backend whole
    server one 127.0.0.1:{service}
{page[2]}
"""


@contextmanager
def running_nginx(folder: Path, service: int) -> Iterator[list[Way]]:
    """Run nginx; yield the ways through it."""
    with _running("nginx", _NGINX, ["-c"], folder, service) as ports:
        yield _ways("nginx", ports, removed_decodes=True)


@contextmanager
def running_haproxy(folder: Path, service: int) -> Iterator[list[Way]]:
    """Run HAProxy; yield the ways through it."""
    with _running("haproxy", _HAPROXY, ["-db", "-f"], folder, service) as ports:
        yield _ways("haproxy", ports, removed_decodes=False)


def _ways(name: str, ports: dict[str, int], removed_decodes: bool) -> list[Way]:
    return [
        Way(f"{name} without a prefix", f"http://127.0.0.1:{ports['plain']}"),
        Way(f"{name} leaves the prefix", f"http://127.0.0.1:{ports['kept']}{PREFIX}"),
        Way(f"{name} removes the prefix", f"http://127.0.0.1:{ports['removed']}{PREFIX}", removed_decodes),
    ]


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


@contextmanager
def _running(
    name: str, configuration: str, options: list[str], folder: Path, service: int
) -> Iterator[dict[str, int]]:
    folder.mkdir()
    ports = {part: free_port() for part in ("plain", "kept", "removed")}
    names = {"127.0.0.1:8000": f"127.0.0.1:{service}"}
    page = [replaced(text_under(PAGE, "A prefix", number), names) for number in range(3)]
    page[2] = replaced(page[2], {"bind :80": f"bind 127.0.0.1:{ports['removed']}"})
    file = folder / f"{name}.conf"
    file.write_text(configuration.format(folder=folder, prefix=PREFIX, service=service, page=page, **ports))
    process = subprocess.Popen([program(name), *options, str(file)])
    try:
        wait_for(f"{name} on its ports", lambda: all(_accepts(port) for port in ports.values()))
        yield ports
    finally:
        process.terminate()
        process.wait(timeout=30)
