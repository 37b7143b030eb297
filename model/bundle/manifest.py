"""Manifest of a bundle, its signature and the files' checksums.

All of them are checked before any other content of a bundle is parsed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle.regular_file import open_regular, read_regular
from model.bundle.safetensors_reader import MIN_SHARED_BYTES, FileBytes
from model.bundle.sealed_memory import ChecksumError, sealed_copy
from model.bundle.signature import KEY_VARIABLE, SIGNATURE, has_valid_signature

_log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST, WEIGHTS, ITEMS = "manifest.json", "weights.safetensors", "items.jsonl"
CONTENT, CONTENT_WEIGHTS = "content.json", "content.safetensors"  # of the content encoder; both or neither
_FILES = {WEIGHTS, ITEMS}
_MAX_MANIFEST_BYTES = 1 << 20
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENTRY_TYPES = {"version": str, "created": str, "config": dict, "metrics": dict, "training_data": dict, "files": dict}


class BundleError(Exception):
    """The bundle cannot be used.

    The message names the file and the reason.
    """


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest and its folder.

    The other files and `event_types` are not verified yet.
    """

    folder: Path
    version: str
    created: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    training_data: dict[str, Any]
    files: dict[str, Any]
    event_types: Any = None


def read_manifest(folder: Path, key: bytes | None = None) -> Manifest:
    """Read and check the manifest of the bundle in `folder`.

    Args:
        folder: the bundle.
        key: the signing key; the signature is then required, and checked before the manifest is parsed.

    Raises:
        BundleError: there is no manifest, or it is damaged or not signed with `key`.
    """
    path = folder / MANIFEST
    try:
        data = read_regular(path, _MAX_MANIFEST_BYTES)
        if key is not None and not has_valid_signature(folder, data, key):
            raise BundleError(f"{folder} is not signed with the key in {KEY_VARIABLE}; publish it with that key")
        entries = json.loads(data, parse_constant=_refuse_constant)
        # Both can hide in escapes and would fail only when an answer repeats them: half a character, and 1e999.
        json.dumps(entries, ensure_ascii=False, allow_nan=False).encode()
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no bundle: there is no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise BundleError(f"{path} is not of bundle format {FORMAT}")
    for name, kind in _ENTRY_TYPES.items():
        if not isinstance(entries.get(name), kind):
            raise BundleError(f"{path}: entry {name!r} is missing or not a {kind.__name__}")
    if not _VERSION.fullmatch(entries["version"]):
        raise BundleError(f"{path}: the version may hold letters, digits, '.', '_' and '-' only")
    if set(entries["files"]) not in (_FILES, _FILES | {CONTENT, CONTENT_WEIGHTS}):
        raise BundleError(
            f"{path}: 'files' must name {WEIGHTS} and {ITEMS}, with or without {CONTENT} and {CONTENT_WEIGHTS}, "
            "and nothing else"
        )
    given = {name: entries[name] for name in _ENTRY_TYPES}
    return Manifest(folder, **given, event_types=entries.get("event_types"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# Inode, size and time of a manifest and of its signature.
_FileStates = tuple[tuple[int, int, int] | None, ...]


class ManifestReader:
    """Finds the bundles at a path.

    A manifest is read and checked once, until its files change.
    """

    def __init__(self, root: Path, key: bytes | None = None) -> None:
        self._root, self._key = root, key
        self._known: dict[Path, tuple[_FileStates, Manifest | BundleError]] = {}

    def find(self) -> dict[str, Manifest]:
        """Return the manifests by version, oldest first.

        The root is a bundle itself or a folder of bundles. A bundle with a damaged manifest, or without the required
        signature, is left out with a warning, so that the others can be served.

        Raises:
            BundleError: no bundle can be used.
        """
        if _exists(self._root / MANIFEST):
            manifest = self._read(self._root)
            if isinstance(manifest, BundleError):
                raise manifest
            return {manifest.version: manifest}
        try:
            folders = [path for path in self._root.iterdir() if path.name[:1] != "." and _exists(path / MANIFEST)]
        except OSError as error:
            raise BundleError(
                f"{self._root} cannot be read ({error.strerror}); train a model, or name a bundle"
            ) from None
        results = [self._read(folder) for folder in folders]
        self._known = {folder: known for folder, known in self._known.items() if folder in folders}
        manifests = [result for result in results if isinstance(result, Manifest)]
        if not manifests:
            errors = [result for result in results if isinstance(result, BundleError)]
            raise (
                errors[-1]
                if errors
                else BundleError(f"{self._root} holds no bundle; train a model, or name a bundle")
            )
        manifests.sort(key=lambda manifest: (manifest.created, manifest.version))
        return {manifest.version: manifest for manifest in manifests}

    def _read(self, folder: Path) -> Manifest | BundleError:
        states = tuple(_file_state(folder / name) for name in (MANIFEST, SIGNATURE))
        known = self._known.get(folder)
        if known is not None and known[0] == states:
            return known[1]
        result: Manifest | BundleError
        try:
            result = read_manifest(folder, self._key)
        except BundleError as error:
            if folder != self._root:
                _log.warning("skipping damaged or unsigned bundle: %s", error)
            result = error
        self._known[folder] = states, result
        return result


def _exists(path: Path) -> bool:
    """Return whether the file exists, or cannot be looked at."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _file_state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def find_bundles(root: Path, key: bytes | None = None) -> dict[str, Path]:
    """Return the bundles' folders by version; see `ManifestReader.find`."""
    return {version: manifest.folder for version, manifest in ManifestReader(root, key).find().items()}


def verified_file(manifest: Manifest, name: str, max_bytes: int | None = None, *, shared: bool = False) -> FileBytes:
    """Return the bytes of a file that the manifest names.

    Later changes of the file do not reach them.

    Args:
        manifest: the checked manifest.
        name: the file.
        max_bytes: a larger file is refused before it is read.
        shared: keep the bytes of a large file in memory that all workers share.

    Raises:
        BundleError: the file is not the one in the manifest, or is too large.
    """
    path, entry = manifest.folder / name, manifest.files[name]
    try:
        with open_regular(path) as (file, size):
            if size != entry["bytes"]:
                raise BundleError(f"{path} is not the file of {entry['bytes']} bytes that the manifest names")
            if max_bytes is not None and size > max_bytes:
                raise BundleError(f"{path} is larger than the config allows ({max_bytes} bytes)")
            if shared and size >= MIN_SHARED_BYTES:
                return sealed_copy(file, size, entry["sha256"])
            data = file.read(size)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ChecksumError
    except ChecksumError:
        raise BundleError(f"{path} is damaged: its SHA-256 is not the manifest's") from None
    except (OSError, KeyError, TypeError) as error:
        raise BundleError(f"{path} cannot be verified: {error}") from None
    return data
