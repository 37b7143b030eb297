"""Real proxies in front of the service, with the configurations of docs/operations/https.md."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.certificates import Authority
from tests.deployments import wait_for
from tests.docs.pages import ROOT, replaced, text_under
from tests.servers import free_port

PAGE = ROOT / "docs" / "operations" / "https.md"
HOST = "recommender.example"


class Proxy(NamedTuple):
    """Ports of a running proxy: with TLS and without."""

    https: int
    http: int


@contextmanager
def nginx(folder: Path, authority: Authority, service: str) -> Iterator[Proxy]:
    """Run nginx in front of the service at `service`, HOST:PORT."""
    proxy = Proxy(free_port(), free_port())
    names = {
        "listen 443": f"listen 127.0.0.1:{proxy.https}",
        "listen 80": f"listen 127.0.0.1:{proxy.http}",
        "server 127.0.0.1:8000": f"server {service}",
        "/etc/ssl/recommender.pem": authority.path("proxy"),
        "/etc/ssl/recommender.key": authority.path("proxy", "key"),
    }
    (folder / "recblr.conf").write_text(replaced(text_under(PAGE, "nginx"), names))
    with nginx_with(folder, proxy):
        yield proxy


@contextmanager
def nginx_with(folder: Path, proxy: Proxy) -> Iterator[None]:
    """Run nginx with the servers in recblr.conf."""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}include {folder}/recblr.conf;\n}}\n"
    )
    user = ["-g", "daemon off; user root;"]  # the tests' folder is this user's alone
    command = ["nginx", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", "-p", str(folder), *user]
    with running(command, folder, proxy):
        yield


@contextmanager
def haproxy(folder: Path, authority: Authority, service: str, second: str = "127.0.0.1:1") -> Iterator[Proxy]:
    """Run HAProxy in front of the services at `service` and `second`."""
    proxy = Proxy(free_port(), free_port())
    names = {
        "bind :443": f"bind 127.0.0.1:{proxy.https}",
        "bind :80": f"bind 127.0.0.1:{proxy.http}",
        "127.0.0.1:8000": service,
        "10.0.0.2:8000": second,
        "/etc/ssl/recommender.pem": authority.path("proxy-both"),
    }
    (folder / "haproxy.cfg").write_text(replaced(text_under(PAGE, "HAProxy"), names))
    with running(["haproxy", "-f", str(folder / "haproxy.cfg")], folder, proxy):
        yield proxy


@contextmanager
def prefixed(number: int, folder: Path, service: str) -> Iterator[str]:
    """Run the proxy of a block about a prefix; yield its URL."""
    port = free_port()
    text = text_under(PAGE, "A prefix", number)
    names = {"127.0.0.1:8000": service}
    if text.startswith("location"):
        server = f"server {{\nlisten 127.0.0.1:{port};\n{replaced(text, names)}}}\n"
        (folder / "recblr.conf").write_text(server)
        with nginx_with(folder, Proxy(port, port)):
            yield f"http://127.0.0.1:{port}"
        return
    defaults = text_under(PAGE, "HAProxy").partition("frontend")[0]
    names["bind :80"] = f"bind 127.0.0.1:{port}"
    (folder / "haproxy.cfg").write_text(defaults + replaced(text, names))
    with running(["haproxy", "-f", str(folder / "haproxy.cfg")], folder, Proxy(port, port)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def caddy(folder: Path, authority: Authority, service: str) -> Iterator[Proxy]:
    """Run Caddy in front of the service at `service`."""
    proxy = Proxy(free_port(), free_port())
    names = {
        "127.0.0.1:8000": service,
        "/etc/ssl/recommender.pem": authority.path("proxy"),
        "/etc/ssl/recommender.key": authority.path("proxy", "key"),
    }
    options = f"{{\nadmin off\nhttps_port {proxy.https}\nhttp_port {proxy.http}\n}}\n"
    (folder / "Caddyfile").write_text(options + replaced(text_under(PAGE, "Caddy"), names))
    command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, folder, proxy, {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}):
        yield proxy


PROXIES = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}


def issue(folder: Path) -> Authority:
    """Return an authority that has issued the proxies' certificate."""
    authority = Authority(folder)
    authority.issue("proxy", HOST)
    both = authority.path("proxy").read_bytes() + authority.path("proxy", "key").read_bytes()
    authority.path("proxy-both").write_bytes(both)
    return authority


@contextmanager
def running(
    command: list[str], folder: Path, proxy: Proxy, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a proxy until the end of the block."""
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"{command[0]} is not installed; `make programs` installs it")
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={"PATH": "/usr/sbin:/usr/bin:/bin", **(environment or {})}
        )
    try:
        wait_for(command[0], lambda: process.poll() is not None or all(map(_listens, proxy)))
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
