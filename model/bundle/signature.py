"""Signature of a bundle: HMAC-SHA256 of its manifest.

The manifest holds the SHA-256 of all other files.

The signature is optional and symmetric: a service that can check it could also sign. It protects against a bundle
from somebody who can only write to the model registry (decision 0022).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path

from model.bundle.regular_file import read_regular

SIGNATURE = "manifest.sig"
KEY_VARIABLE = "RECBLR_BUNDLE_KEY"
KEY_PATTERN = r"[!-~]{32,512}"
_MAX_SIGNATURE_BYTES = 1024


class SigningKeyError(Exception):
    """The signing key in the environment cannot be used.

    The message gives the reason in one sentence.
    """


def signature_of(manifest: bytes, key: bytes) -> str:
    """Return the signature of a manifest of these bytes: 64 hex digits."""
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()


def has_valid_signature(folder: Path, manifest: bytes, key: bytes) -> bool:
    """Return whether the bundle holds the signature of `manifest` by `key`."""
    try:
        found = read_regular(folder / SIGNATURE, _MAX_SIGNATURE_BYTES).strip()
    except OSError:
        return False
    return hmac.compare_digest(found, signature_of(manifest, key).encode())


def signing_key(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the key that signs published bundles, or None; raises `SigningKeyError`."""
    key = environment.get(KEY_VARIABLE)
    if not key:
        return None
    if not re.fullmatch(KEY_PATTERN, key):
        raise SigningKeyError(f"{KEY_VARIABLE} must be 32 to 512 printable ASCII characters without spaces")
    return key.encode()
