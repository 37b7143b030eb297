"""The signature of a bundle: HMAC-SHA256 over its manifest, which names the SHA-256 of everything else.

It is optional, and symmetric: who can check can also sign. It keeps out a bundle from somebody who can write to the
folder of bundles and nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path

SIGNATURE = "manifest.sig"
KEY_VARIABLE = "RECBLR_BUNDLE_KEY"
KEY_PATTERN = r"[!-~]{32,512}"
_LARGEST = 1024


class KeyUnusable(Exception):
    """The key in the environment cannot sign; the message is one sentence."""


def signature_of(manifest: bytes, key: bytes) -> str:
    """What `SIGNATURE` holds beside a manifest of these bytes: 64 hex digits."""
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()


def is_signed(folder: Path, manifest: bytes, key: bytes) -> bool:
    """Whether the bundle in `folder` carries the signature of `manifest` by `key`."""
    path = folder / SIGNATURE
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            return False
        found = path.read_bytes().strip()
    except OSError:
        return False
    return hmac.compare_digest(found, signature_of(manifest, key).encode())


def signing_key(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The key by which bundles are signed at publication; None: they are not. Raises `KeyUnusable`."""
    key = environment.get(KEY_VARIABLE)
    if not key:
        return None
    if not re.fullmatch(KEY_PATTERN, key):
        raise KeyUnusable(f"{KEY_VARIABLE} must be 32 to 512 printable ASCII characters without spaces")
    return key.encode()
