"""Damaged bundles at start and at reload are refused, and never executed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.faults.harness.modes import report
from tests.model.builders import bundle_of
from tests.servers import free_port

pytestmark = pytest.mark.faults

CONFIG = ModelConfig(items=40, dim=4, expansion=1, conv_width=2, layers=1)
NORM = "layer_norm.weight"


def _seal(folder: Path, **files: bytes) -> None:
    """Write `files` with valid checksums, so that only later checks can refuse."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name, data in zip((WEIGHTS, ITEMS), (files.get("weights"), files.get("items")), strict=True):
        if data is not None:
            (folder / name).write_bytes(data)
            manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def _truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])


def _wrong_shape(folder: Path) -> None:
    weights = load((folder / WEIGHTS).read_bytes())
    _seal(folder, weights=save({**weights, NORM: weights[NORM][:-1].copy()}))


def _nan(folder: Path) -> None:
    weights = load((folder / WEIGHTS).read_bytes())
    _seal(folder, weights=save({**weights, NORM: np.full_like(weights[NORM], np.nan)}))


def _too_large(folder: Path) -> None:
    """Write a weights header with consistent sizes beyond any memory."""
    array = {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4 * 10**30]}
    header = json.dumps({NORM: array}).encode()
    _seal(folder, weights=len(header).to_bytes(8, "little") + header + bytes(16))


def _outside(folder: Path) -> None:
    """Write a manifest that names valid weights outside the bundle."""
    (folder.parent / "elsewhere").mkdir(exist_ok=True)
    shutil.move(folder / WEIGHTS, folder.parent / "elsewhere" / WEIGHTS)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][f"../elsewhere/{WEIGHTS}"] = manifest["files"].pop(WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(exist_ok=True)
    shutil.move(folder / WEIGHTS, folder.parent / "elsewhere" / WEIGHTS)
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere" / WEIGHTS)


class _Payload:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def _pickle(folder: Path) -> None:
    _seal(folder, weights=pickle.dumps(_Payload(folder.parent / "ran")))


DAMAGES = (_flipped, _truncated, _wrong_shape, _nan, _too_large, _outside, _link, _pickle)


def test_start_with_a_damaged_bundle_fails_with_one_line(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")}
    said = {}
    for damage in DAMAGES:
        folder = tmp_path / damage.__name__ / "v1"
        write_bundle(folder, bundle_of(CONFIG))
        damage(folder)
        started = subprocess.run(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env={
                **environment,
                "RECBLR_BUNDLE": str(folder),
                "RECBLR_STATE_URL": f"sqlite:///{tmp_path}/log.db",
                "RECBLR_PORT": str(free_port()),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said[damage.__name__.strip("_")] = started.stderr.removeprefix("recblr-serve: ").strip()
        assert started.returncode == 2, started.stderr
        assert started.stderr.count("\n") == 1, started.stderr
        assert not (folder.parent / "ran").exists()
    report("damaged bundles at the start", refused=len(said), of=len(DAMAGES), one_line_each=True)


def test_reload_of_a_damaged_bundle_is_refused_and_the_live_version_stays(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    write_bundle(bundles / "good", bundle_of(CONFIG))
    statuses = []
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", bundles) as service:
        live = service.get("/model")["version"]
        for damage in DAMAGES:
            version = f"9{damage.__name__.replace('_', '-')}"
            folder = bundles / version
            write_bundle(folder, bundle_of(CONFIG, version=version))
            damage(folder)
            answer = httpx.post(
                f"{service.url}/v1/admin/reload",
                headers={"X-API-Key": KEY},
                json={"version": version},
                timeout=30,
            )
            statuses.append(answer.status_code)
            # 404: a bundle with a damaged manifest is not listed. 409: other damage is found on load.
            assert answer.status_code in (404, 409), answer.text
            assert "\n" not in answer.json()["error"]["message"]
            assert service.get("/model")["version"] == live
            assert service.get("/users/u/recommendations", k=3)["model_version"] == live
            shutil.rmtree(folder)
    assert not (bundles / "ran").exists()
    report("damaged bundles at a reload", refused=len(statuses), of=len(DAMAGES), live_model_kept=True)
