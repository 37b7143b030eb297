"""Every service of docker-compose.yml does its work, outside a container.

What a container adds is replaced: host names, ports and folders.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deployments import wait_for
from tests.docs.pages import ROOT
from tests.environment import controlled
from tests.servers import free_port

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PROGRAMS = Path(sys.executable).parent
DEMO = "ml-1m-demo"
# A model that learns a cycle in seconds. Later options count.
SMALL = (
    "--dim 8 --layers 1 --window 16 --batch 32 --evaluate-every 10 --patience 99 --warmup-steps 5 --epochs 60 "
    "--learning-rate 0.02 --min-events 50 --min-compared 10"
)
USERS, ITEMS, EVENTS = 12, 12, 16


class Compose:
    """The compose file's services, with free ports and folders of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        done = subprocess.run(
            ["sh", ROOT / "docker" / "new-env.sh", folder], capture_output=True, text=True, check=True
        )
        self.shop, self.operator = (line.split()[-1] for line in done.stdout.splitlines()[1:])
        lines = (folder / ".env").read_text().splitlines()
        self.variables = dict(line.split("=", 1) for line in lines) | {"RECBLR_WATCH": "true"}
        self.redis_port, self.port = free_port(), free_port()
        for name in ("bundles", "runs", "data"):
            (folder / name).mkdir()
        shutil.copytree(ROOT / "bundles" / DEMO, folder / "bundles" / DEMO)  # as in the server's image

    def environment(self, service: str, **more: str) -> dict[str, str]:
        named = {name: self.filled(value) for name, value in SERVICES[service].get("environment", {}).items()}
        return controlled(os.environ) | {name: value for name, value in named.items() if value} | more

    def filled(self, text: str) -> str:
        """Insert variables as compose does, and replace what a container adds."""
        text = re.sub(
            r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda match: self.variables.get(match[1], match[2] or ""), text
        )
        text = text.replace("@redis:6379", f"@127.0.0.1:{self.redis_port}")
        return re.sub(r"^/(bundles|runs|data)\b", lambda match: f"{self.folder}/{match[1]}", text)

    def command(self, service: str) -> list[str]:
        return [self.filled(argument) for argument in SERVICES[service]["command"]]

    @contextmanager
    def running(self, name: str, command: list[str], environment: dict[str, str]) -> Iterator[None]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0, (self.folder / f"{name}.log").read_text()

    def is_healthy(self, command: list[str], environment: dict[str, str]) -> bool:
        """Run a health check."""
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def server_image() -> tuple[dict[str, str], list[str], list[str]]:
    """Return the server image's environment, entry point and health check."""
    text = (ROOT / "docker" / "server.Dockerfile").read_text().replace("\\\n", "")
    last = text[text.rindex("\nFROM ") :]
    variables = dict(
        pair.split("=", 1) for line in re.findall(r"^ENV (.+)$", last, re.MULTILINE) for pair in line.split()
    )
    found = [re.search(rf"{name} .*?(\[.*\])$", last, re.MULTILINE) for name in ("ENTRYPOINT", "HEALTHCHECK")]
    entry, check = (json.loads(match[1]) for match in found if match)
    return variables, entry, check


@contextmanager
def redis(compose: Compose) -> Iterator[None]:
    """Run the service `redis` until its health check passes."""
    environment = compose.environment("redis")
    more = ["--port", str(compose.redis_port), "--bind", "127.0.0.1", "--dir", str(compose.folder)]
    kind, check = SERVICES["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    command = ["sh", "-c", check.replace("redis-cli", f"redis-cli -p {compose.redis_port}")]
    with compose.running("redis", compose.command("redis") + more, environment):
        wait_for("redis", lambda: compose.is_healthy(command, environment))
        assert not compose.is_healthy(command, controlled(os.environ))  # without the password
        yield


@contextmanager
def server(compose: Compose) -> Iterator[None]:
    """Run the service `server` once it is ready."""
    variables, [program], [python, *check] = server_image()
    own = {"RECBLR_HOST": "127.0.0.1", "RECBLR_PORT": str(compose.port)}
    cache = os.environ.get("NUMBA_CACHE_DIR", "")
    image = {name: value for name, value in variables.items() if name.startswith("RECBLR_")}
    environment = image | compose.environment("server", NUMBA_CACHE_DIR=cache) | own
    assert environment["RECBLR_BUNDLE"] == str(compose.folder / "bundles")
    assert python == "python"
    with compose.running("server", [str(PROGRAMS / program)], environment):
        wait_for("server", lambda: compose.is_healthy([sys.executable, *check], environment), 120.0)
        with httpx.Client(base_url=f"http://127.0.0.1:{compose.port}") as client:
            wait_for("readiness", lambda: client.get("/readyz").status_code == 200)
        yield


def trainer(compose: Compose, service: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a service of the trainer's image to its end."""
    text = (ROOT / "docker" / "trainer.Dockerfile").read_text()
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    [program] = json.loads(entry)
    command = compose.command(service)
    at = command.index("--") if "--" in command else len(command)
    command = [str(PROGRAMS / program), *command[:at], *more, *command[at:], *(shlex.split(SMALL) if more else ())]
    return subprocess.run(
        command,
        env=compose.environment(service),
        cwd=compose.folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_services_of_compose_work_together(tmp_path: Path) -> None:
    compose = Compose(tmp_path)
    with redis(compose), server(compose), httpx.Client(base_url=f"http://127.0.0.1:{compose.port}") as client:
        client.headers["X-API-Key"] = compose.shop
        assert client.get("/v1/model").json()["version"] == version_of(tmp_path / "bundles" / DEMO)
        for n in range(EVENTS):  # in several batches, since the newest by arrival are held out
            batch = [{"user_id": f"user {u}", "item_id": f"item {(u + n) % ITEMS}"} for u in range(USERS)]
            assert client.post("/v1/events/batch", json={"events": batch}).status_code == 200
        assert client.get("/metrics").status_code == 403
        done = trainer(compose, "retrain", "--now", "--once")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert "recblr_retrain_last_success" in (tmp_path / "runs" / "retrain.prom").read_text()
        wait_for("the rollout", lambda: client.get("/v1/model").json()["version"] == result["version"])


def test_trainer_of_compose_shows_its_help(tmp_path: Path) -> None:
    done = trainer(Compose(tmp_path), "trainer")
    assert (done.returncode, "retrain" in done.stdout) == (0, True)


def test_every_service_is_run_here() -> None:
    assert sorted(SERVICES) == ["redis", "retrain", "server", "trainer"]


def version_of(bundle: Path) -> str:
    return str(json.loads((bundle / "manifest.json").read_text())["version"])
