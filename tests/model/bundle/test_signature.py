"""Signatures: with a key, only bundles signed by it are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.bundle.bundle import MANIFEST, BundleError, find_bundles, load_bundle, write_bundle
from model.bundle.signature import SIGNATURE, SigningKeyError, signing_key
from model.config import ModelConfig
from tests.model.builders import bundle_of

CONFIG = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)
KEY, OTHER = b"k" * 32, b"o" * 32


def test_signed_bundle_is_read_with_its_key_or_without_a_key(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(CONFIG), KEY)
    assert load_bundle(tmp_path / "v1", KEY).version == load_bundle(tmp_path / "v1").version
    with pytest.raises(BundleError, match="not signed"):
        load_bundle(tmp_path / "v1", OTHER)


def test_signature_equals_that_of_openssl(tmp_path: Path) -> None:
    """printf %s '{}' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"""
    (tmp_path / MANIFEST).write_text("{}")
    (tmp_path / SIGNATURE).write_text("3ee8b232b00d38a65125697b8ca96902d432dd558eb14939ffda0723647e7f81\n")
    with pytest.raises(BundleError, match="format"):  # the check after the signature's
        load_bundle(tmp_path, KEY)


def test_unsigned_bundle_is_skipped_without_parsing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path / "old", bundle_of(CONFIG), KEY)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / MANIFEST).write_text("{ this is no JSON")
    assert list(find_bundles(tmp_path, KEY).values()) == [tmp_path / "old"]
    assert "not signed" in caplog.text
    assert "JSON" not in caplog.text


def test_changed_manifest_or_signature_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    write_bundle(folder, bundle_of(CONFIG), KEY)
    manifest, signature = (folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes()
    (folder / MANIFEST).write_text(json.dumps(json.loads(manifest) | {"metrics": {"ndcg": 1}}))
    with pytest.raises(BundleError, match="not signed"):
        load_bundle(folder, KEY)
    (folder / MANIFEST).write_bytes(manifest)
    for wrong in (b"", b"\xff" * 64, signature[:-2], signature + b"0", b"0" * 100_000):
        (folder / SIGNATURE).write_bytes(wrong)
        with pytest.raises(BundleError, match="not signed"):
            load_bundle(folder, KEY)
    (folder / SIGNATURE).write_bytes(signature)
    load_bundle(folder, KEY)


def test_signing_key_is_read_from_the_environment() -> None:
    assert signing_key({}) is None
    assert signing_key({"RECBLR_BUNDLE_KEY": ""}) is None
    assert signing_key({"RECBLR_BUNDLE_KEY": "k" * 32}) == KEY
    for wrong in ("k" * 31, "k " * 20, "k" * 31 + "\n"):
        with pytest.raises(SigningKeyError, match="RECBLR_BUNDLE_KEY must be 32"):
            signing_key({"RECBLR_BUNDLE_KEY": wrong})
