"""Manifests: finding bundles, reading each manifest once."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, Bundle, BundleError, find_bundles, load_bundle, write_bundle
from model.bundle.manifest import ManifestReader
from model.config import ModelConfig
from tests.environment import run_python
from tests.model.builders import bundle_of
from tests.model.bundle.opened_files import opened_files

KEY = b"k" * 32
SMALL = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)


def versions(root: Path, *named: tuple[str, str]) -> list[Bundle]:
    bundles = [bundle_of(SMALL, version=version, created=created) for version, created in named]
    for bundle in bundles:
        write_bundle(root / f"folder-{bundle.version}", bundle)
    return bundles


def test_bundles_are_found_oldest_first(tmp_path: Path) -> None:
    versions(tmp_path, ("b", "2026-03-01"), ("c", "2026-01-01"), ("z", "2026-02-01"), ("a", "2026-02-01"))
    found = find_bundles(tmp_path)
    assert list(found) == ["c", "a", "z", "b"]
    assert found["c"] == tmp_path / "folder-c"


def test_root_that_is_a_bundle_is_the_only_one(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-03-01"))
    assert find_bundles(tmp_path / "folder-v1") == {"v1": tmp_path / "folder-v1"}


def test_partial_folders_and_other_files_are_ignored(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-03-01"), ("v2", "2026-04-01"))
    (tmp_path / "folder-v2").rename(tmp_path / ".folder-v2-x1y2")
    (tmp_path / "no-manifest").mkdir()
    (tmp_path / "no-manifest" / WEIGHTS).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("x")
    assert list(find_bundles(tmp_path)) == ["v1"]


@pytest.mark.parametrize("kind", ["absent", "empty", "file"])
def test_root_without_bundles_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "models"
    if kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_text("x")
    with pytest.raises(BundleError) as refused:
        find_bundles(root)
    assert "\n" not in str(refused.value)


def test_damaged_manifest_does_not_hide_other_bundles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path / "good", bundle_of(ModelConfig(items=3, dim=4)))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / MANIFEST).write_text("{")
    assert list(find_bundles(tmp_path)) == ["v1"]
    assert "bad" in caplog.text
    shutil.rmtree(tmp_path / "good")
    with pytest.raises(BundleError, match="bad"):
        find_bundles(tmp_path)


def test_unchanged_manifests_are_read_once(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-01-01"), ("v2", "2026-02-01"))
    reader = ManifestReader(tmp_path)
    with opened_files(MANIFEST) as opened:
        assert list(reader.find()) == list(reader.find()) == ["v1", "v2"]
    assert sorted(path.parent.name for path in opened) == ["folder-v1", "folder-v2"]


def test_changed_manifest_is_read_again(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-01-01"), ("v2", "2026-02-01"))
    reader = ManifestReader(tmp_path)
    reader.find()
    manifest = tmp_path / "folder-v2" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"v2"', '"v3.1"'))
    shutil.rmtree(tmp_path / "folder-v1")
    versions(tmp_path, ("v0", "2026-03-01"))
    with opened_files(MANIFEST) as opened:
        assert list(reader.find()) == ["v3.1", "v0"]
    assert sorted(path.parent.name for path in opened) == ["folder-v0", "folder-v2"]


def test_added_signature_makes_a_refused_bundle_valid(tmp_path: Path) -> None:
    key = KEY
    write_bundle(tmp_path / "v1", bundle_of(SMALL), key)
    signature = (tmp_path / "v1" / "manifest.sig").rename(tmp_path / "signature")
    reader = ManifestReader(tmp_path, key)
    with pytest.raises(BundleError, match="not signed"):
        reader.find()
    signature.rename(tmp_path / "v1" / "manifest.sig")
    assert list(reader.find()) == ["v1"]


def test_damaged_manifest_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    versions(tmp_path, ("v1", "2026-01-01"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / MANIFEST).write_text("{")
    reader = ManifestReader(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert list(reader.find()) == list(reader.find()) == ["v1"]
    assert [record.getMessage().count("bad") for record in caplog.records] == [1]


# As root no folder is unreadable, so the reader runs as another user.
AS_ANOTHER_USER = """
import logging, os, sys, tempfile
from pathlib import Path
from model.bundle.bundle import write_bundle
from model.bundle.manifest import ManifestReader
from service.engine import BundleLoader
from tests.environment import run_python
from tests.model.builders import bundle_of
from model.config import ModelConfig
import asyncio
logging.basicConfig(format="%(message)s")
with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    root.chmod(0o755)
    write_bundle(root / "v1", bundle_of(ModelConfig(items=6, dim=4)))
    (root / "lost+found").mkdir()
    (root / "lost+found").chmod(0)
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65534)
    try:
        reader = ManifestReader(root)
        print(*reader.find(), *reader.find())
        loader = BundleLoader(root, 100)
        print(asyncio.run(loader.changed()), asyncio.run(loader.changed()))
    finally:
        os.seteuid(uid)
        (root / "lost+found").chmod(0o755)
    write_bundle(root / "v2", bundle_of(ModelConfig(items=6, dim=4), version="v2"))
    (root / "lost+found").chmod(0)
    if uid == 0:
        os.seteuid(65534)
    print(asyncio.run(loader.changed()))
    os.seteuid(uid)
    (root / "lost+found").chmod(0o755)
"""


def test_unreadable_entry_is_skipped_with_one_line() -> None:
    ran = run_python("-c", AS_ANOTHER_USER)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["v1", "v1", "True", "False", "True"]
    [line] = ran.stderr.splitlines()
    assert line.startswith("skipping damaged or unsigned bundle")
    assert "lost+found" in line
    assert "Permission denied" in line


@pytest.mark.parametrize("name", [MANIFEST, "manifest.sig", WEIGHTS, ITEMS])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_anything_but_a_regular_file_is_refused_without_waiting(tmp_path: Path, name: str, kind: str) -> None:
    write_bundle(tmp_path / "v1", bundle_of(SMALL), KEY)
    path = tmp_path / "v1" / name
    path.rename(tmp_path / "file")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "file")
    else:
        path.mkdir()
    with pytest.raises(BundleError) as refused:
        load_bundle(tmp_path / "v1", KEY)
    assert "\n" not in str(refused.value)


def test_number_that_json_cannot_repeat_is_refused(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-01-01"))
    manifest = tmp_path / "folder-v1" / MANIFEST
    assert '"ndcg@10": 0.5' in manifest.read_text()
    manifest.write_text(manifest.read_text().replace('"ndcg@10": 0.5', '"ndcg@10": 1e999'))
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tmp_path / "folder-v1")
