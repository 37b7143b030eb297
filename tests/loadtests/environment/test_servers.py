"""Starting and stopping servers."""

from __future__ import annotations

import sys

import psutil
import pytest
from redis import Redis

from loadtests.environment.processes import free_port, process_tree
from loadtests.environment.servers import RedisSettings, ServerError, http_server, redis_server
from loadtests.generator.http_client import request_json

SERVER = """
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'"%s"' % os.environ.get("RECBLR_LEAK", "").encode()
        self.send_response(200 if self.path == "/ready" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(code: str, port: int) -> list[str]:
    return [sys.executable, "-c", code, str(port)]


def test_server_and_its_children_end_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_LEAK", "set by the caller")
    port = free_port()
    with http_server("server", command(SERVER, port), {}, port, "/ready", 30) as server:
        family = [psutil.Process(pid) for pid in process_tree(server.pid)]
        assert len(family) == 2
        assert request_json(port, "GET", "/ready") == ""  # the caller's own settings do not reach the server
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_server_that_ends_early_is_an_error_with_its_log() -> None:
    port = free_port()
    failing = http_server("the server", command("print('out of luck'); exit(3)", port), {}, port, "/ready", 30)
    with pytest.raises(ServerError, match=r"cannot start the server:\nout of luck"), failing:
        pass


def test_server_that_is_never_ready_is_an_error_after_the_timeout() -> None:
    port = free_port()
    with (
        pytest.raises(ServerError, match="cannot start slow"),
        http_server("slow", command(SERVER, port), {}, port, "/missing", 1.0),
    ):
        pass


@pytest.mark.parametrize(("fsync", "appendonly"), [("always", "yes"), ("no", "no")])
def test_redis_has_the_chosen_durability(fsync: str, appendonly: str) -> None:
    with redis_server(RedisSettings(fsync)) as server, Redis(port=server.port) as client:
        assert client.config_get("appendonly")["appendonly"] == appendonly
        assert client.dbsize() == 0
