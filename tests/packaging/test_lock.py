"""The images install what their lock files name, checked by SHA-256."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
LOCKS = sorted(DOCKER.glob("*.lock"))
DIGEST = "sha256:" + "0123456789abcdef" * 4


def locked(*names: str) -> dict[str, str]:
    """Return version by package of some lock files."""
    text = "".join((DOCKER / name).read_text() for name in names)
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def needed(requirement: Requirement, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the packages that a requirement brings along here."""
    found: set[str] = set()
    waiting = [(requirement.name, extras | requirement.extras)]
    while waiting:
        name, wanted = waiting.pop()
        try:
            below = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # such as CUDA's libraries beside a CPU build
            continue
        for each in below:
            if any(
                each.marker is None or each.marker.evaluate({"extra": extra}) for extra in (wanted or {""}) | {""}
            ):
                key = canonicalize_name(each.name)
                if key not in found or each.extras:
                    found.add(key)
                    waiting.append((each.name, frozenset(each.extras)))
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_entry_has_hashes_and_the_pinned_version(path: Path) -> None:
    entries = re.split(r"^(?=\w)", path.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 10
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}$", entry, re.MULTILINE)] == []
    pins = pinned()
    other = {
        name: (version, pins[name])
        for name, version in locked(path.name).items()
        if name in pins and pins[name] != version
    }
    assert other == {}, "run `make lock`"


@pytest.mark.parametrize(
    ("extras", "locks"),
    [([], ["server.lock"]), (["train"], ["trainer.lock", "torch.lock"])],
    ids=["server", "trainer"],
)
def test_lock_has_everything_that_the_project_needs(extras: list[str], locks: list[str]) -> None:
    found = needed(Requirement("recblr-service"), frozenset(extras)) - {"recblr-service"}
    assert {"fastapi", "starlette"} <= found
    assert sorted(found - set(locked(*locks))) == [], "run `make lock`"
    assert "setuptools" in locked(*locks)


@pytest.mark.parametrize("image", ["server", "trainer"])
def test_install_script_checks_hashes_unless_another_torch_is_asked_for(image: str, tmp_path: Path) -> None:
    (tmp_path / "pip").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (tmp_path / "pip").chmod(0o755)
    script, path = DOCKER / f"install-{image}.sh", f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", script], cwd=ROOT, env={"PATH": path}, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    installs = [call for call in calls if call.startswith("install ")]
    assert len(installs) >= 2
    for call in installs:
        assert "--require-hashes --requirement docker/" in call or call.endswith(
            "--no-deps --no-build-isolation ."
        ), call


@pytest.mark.parametrize("answer", [DIGEST, "not found"])
def test_pin_images_writes_the_registrys_digests_beside_the_keys(tmp_path: Path, answer: str) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "docker").chmod(0o755)
    before = "REDIS_PASSWORD=secret\nREDIS_IMAGE=redis:7@sha256:old\n"
    (tmp_path / ".env").write_text(before)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", DOCKER / "pin-images.sh", tmp_path], env={"PATH": path}, capture_output=True, check=False
    )
    if answer == DIGEST:
        lines = (tmp_path / ".env").read_text().splitlines()
        images = [f"PYTHON_IMAGE=python:3.12-slim@{DIGEST}", f"REDIS_IMAGE=redis:7@{DIGEST}"]
        assert lines == ["REDIS_PASSWORD=secret", *images]
        assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    else:
        assert (done.returncode, (tmp_path / ".env").read_text()) == (1, before)


@pytest.mark.parametrize("name", ["docker/server.Dockerfile", "docker/trainer.Dockerfile", "docker-compose.yml"])
def test_every_base_image_can_be_pinned(name: str) -> None:
    text = (ROOT / name).read_text()
    images = re.findall(r"^FROM (\S+)|^ +image: (\S+)", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE))
    named = {a or b for a, b in images} - stages
    assert named <= {"${PYTHON_IMAGE}", "${REDIS_IMAGE:-redis:7}"}
    assert named
