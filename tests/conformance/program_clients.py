"""Clients that are programs: Java's HttpClient, node's fetch, curl.

`make programs` installs all of them. A missing program skips the test, except in CI.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.steps import HEADERS, Answer, Request

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT_SECONDS = 300


def program(name: str) -> str:
    """Return the path of a program.

    Without it the test is skipped, and in CI it fails.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        message = f"{name} is not installed; `make programs` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def send_with_java(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    command = [program("java"), "-XX:TieredStopAtLevel=1", str(PROGRAMS / "Client.java")]
    return _run(command, sent)


def send_with_node(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    return _run([program("node"), str(PROGRAMS / "client.mjs")], sent)


def _run(command: list[str], sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    lines = [f"{each.method}\t{base}{each.path}\t{_encoded(each.body)}\n" for base, each in sent]
    headers = [word for header in HEADERS for word in header]
    done = subprocess.run(
        [*command, *headers],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = []
    for line in done.stdout.splitlines():
        status, content_type, body = line.split("\t")
        found.append(Answer(int(status), content_type.partition(";")[0], base64.b64decode(body).decode()))
    return found


def _encoded(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


def send_with_curl(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    """Send with one curl process, asking for HTTP/2 by `Upgrade: h2c`."""
    curl = program("curl")
    separator = "\n<next answer>\n"
    command = [curl, "--silent", "--show-error"]
    for base, each in sent:
        command += ["--http2", "--path-as-is", "--request", each.method, base + each.path]
        command += [word for name, value in HEADERS for word in ("--header", f"{name}: {value}")]
        command += ["--data-binary", each.body] if each.body else []
        command += ["--write-out", f"\n%{{http_code}} %{{content_type}}{separator}", "--next"]
    done = subprocess.run(command[:-1], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    found = []
    for part in done.stdout.split(separator)[:-1]:
        body, _, last = part.rpartition("\n")
        status, _, content_type = last.partition(" ")
        found.append(Answer(int(status), content_type.partition(";")[0], body))
    return found
