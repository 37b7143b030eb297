"""A bundle's manifest, its signature and its files' checksums: all that is read before anything else is believed."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

from model.bundle.safetensors_reader import FileBytes, read_file
from model.bundle.signature import KEY_VARIABLE, is_signed

_log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST, WEIGHTS, ITEMS = "manifest.json", "weights.safetensors", "items.jsonl"
_MANIFEST_LIMIT = 1 << 20
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BundleError(Exception):
    """The bundle cannot be used; the message says what is wrong with which file."""


def read_manifest(folder: Path, key: bytes | None = None) -> dict[str, Any]:
    """The manifest of the bundle in `folder`, its entries checked for kind; raises `BundleError`.

    With `key` it must carry this key's signature, which is checked before it is parsed.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > _MANIFEST_LIMIT:
            raise BundleError(f"{path} is a link, or larger than a manifest can be")
        data = path.read_bytes()
        if key is not None and not is_signed(folder, data, key):
            raise BundleError(f"{folder} is not signed with the key in {KEY_VARIABLE}; publish it with that key")
        manifest = json.loads(data, parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no bundle: there is no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path} is not of bundle format {FORMAT}")
    kinds = {"version": str, "created": str, "config": dict, "metrics": dict, "training_data": dict, "files": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name), kind):
            raise BundleError(f"{path}: entry {name!r} is missing or not a {kind.__name__}")
    if not _VERSION.fullmatch(manifest["version"]):
        raise BundleError(f"{path}: the version may hold letters, digits, '.', '_' and '-' only")
    if set(manifest["files"]) != {WEIGHTS, ITEMS}:
        raise BundleError(f"{path}: 'files' must name {WEIGHTS} and {ITEMS} and nothing else")
    return manifest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def find_bundles(root: Path, key: bytes | None = None) -> dict[str, Path]:
    """The bundles at `root` by version, oldest first: `root` itself, or the folders in it that hold a manifest.

    Their manifests are read, their other files not yet. A folder with a damaged manifest, or with `key` one that is
    not signed, is left out with a warning, so that it cannot keep the good ones from being served. Raises
    `BundleError` when there is no good one.
    """
    if (root / MANIFEST).exists():
        return {read_manifest(root, key)["version"]: root}
    if not root.is_dir():
        raise BundleError(f"{root} does not exist; train a model, or name a bundle")
    manifests, damaged = [], None
    for path in root.iterdir():
        if path.name.startswith(".") or not (path / MANIFEST).exists():
            continue
        try:
            manifests.append((read_manifest(path, key), path))
        except BundleError as error:
            _log.warning("bundle left out: %s", error)
            damaged = error
    manifests.sort(key=lambda entry: (entry[0]["created"], entry[0]["version"]))
    if not manifests:
        raise damaged or BundleError(f"{root} holds no bundle; train a model, or name a bundle")
    return {manifest["version"]: path for manifest, path in manifests}


def verified_file(folder: Path, name: str, manifest: dict[str, Any], largest: int | None = None) -> FileBytes:
    """The bytes of a file that the manifest names, as it names them; raises `BundleError`.

    A file of more than `largest` bytes is refused before it is read.
    """
    path, entry = folder / name, manifest["files"][name]
    try:
        if path.is_symlink() or path.stat().st_size != entry["bytes"]:
            raise BundleError(f"{path} is not the file of {entry['bytes']} bytes that the manifest names")
        if largest is not None and entry["bytes"] > largest:
            raise BundleError(f"{path} is larger than the config allows ({largest} bytes)")
        data = read_file(path)
        expected = entry["sha256"]
    except (OSError, KeyError, TypeError) as error:
        raise BundleError(f"{path} cannot be verified: {error}") from None
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(f"{path} is damaged: its SHA-256 is not the manifest's")
    return data
