"""HTTP server with the routes that an A/B test asks."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any


class FakeService:
    """Context manager of a service whose counters the test sets.

    Attributes:
        live, tested: the versions that answer.
        hits: (events, hits) by version; each look at the metrics adds `traffic` to them.
        requests: method and path of each request.
        is_down: answers 503.
    """

    def __init__(self, live: str, tested: str | None = None) -> None:
        self.live, self.tested = live, tested
        self.hits: dict[str, tuple[int, int]] = {}
        self.traffic: dict[str, tuple[int, int]] = {}
        self.requests: list[str] = []
        self.is_down = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(service.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._answer(service.post(self.path, body))

            def _answer(self, text: str) -> None:
                service.requests.append(f"{self.command} {self.path}")
                self.send_response(503 if service.is_down else 200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def get(self, path: str) -> str:
        """Return the answer to a GET."""
        if path == "/v1/model":
            return json.dumps({"version": self.live, "test": self.tested and {"version": self.tested}})
        lines = []
        for version, (events, hits) in self.traffic.items():
            before = self.hits.get(version, (0, 0))
            self.hits[version] = before[0] + events, before[1] + hits
        for version, counts in self.hits.items():
            for name, count in zip(("events", "hits"), counts, strict=True):
                labels = f'version="{version}",history="warm"' + ',seen="kept"' * (name == "hits")
                lines.append(f"recblr_accuracy_{name}_total{{{labels}}} {count}")
        return "\n".join(lines)

    def post(self, path: str, body: dict[str, Any]) -> str:
        """Begin or end the test."""
        if not self.is_down:
            ended = path.endswith("/end")
            self.live, self.tested = (body["winner"], None) if ended else (self.live, body["version"])
        return "{}"

    def __enter__(self) -> FakeService:
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
