"""Model registry: the folder of bundles that the service loads.

The service's setting is `RECBLR_BUNDLE`; it loads the newest version. With a signing key only signed bundles are
read, because the trainer must not sign what it has not verified.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.errors import DataError
from model.bundle.ab_test_mark import mark_path, without_marked, write_mark
from model.bundle.bundle import MANIFEST, Bundle, find_bundles, load_bundle, read_manifest, write_bundle
from model.bundle.signature import signing_key

_WITHDRAWN = ".withdrawn-"  # bundles with a dot in front are not versions


def newest_bundle(registry: Path) -> Path | None:
    """Return the folder of the newest bundle, None if there is none.

    A version that only an A/B test serves does not count.

    Raises:
        BundleError: a bundle's manifest is damaged.
        DataError: the folder is itself a bundle.
    """
    if (registry / MANIFEST).exists():
        raise DataError(f"--bundles must be the model registry (RECBLR_BUNDLE), not one bundle: {registry}")
    if not any(registry.glob(f"*/{MANIFEST}")):
        return None
    bundles = find_bundles(registry, signing_key())
    return bundles[without_marked(registry, [*bundles])[-1]]


def trained_until(bundle: Path) -> float:
    """Return a time after which the model knows no event.

    It is in Unix seconds: the newest training timestamp if the manifest records one, otherwise when the bundle was
    created, and otherwise when its manifest was written. A time in the future is wrong and does not count. -inf if
    none is left.
    """
    manifest = read_manifest(bundle, signing_key())
    recorded = manifest.training_data.get("last_timestamp")
    candidates = [recorded, _unix_time(manifest.created), (bundle / MANIFEST).stat().st_mtime]
    now = time.time()
    known = (float(value) for value in candidates if isinstance(value, int | float) and math.isfinite(value))
    return next((value for value in known if value <= now), -math.inf)


def _unix_time(text: str) -> float | None:
    """Return the Unix time of an ISO 8601 text, or None."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def publish(registry: Path, candidate: Path, ab_test: str | None = None) -> Bundle:
    """Copy a bundle into the registry as its newest version.

    A version that is already there stays as it is. With `ab_test`, the content of its mark, only an A/B test serves
    it (model/bundle/ab_test_mark.py).

    Raises:
        DataError: a version with the same weights was withdrawn.
    """
    newest, bundle = newest_bundle(registry), load_bundle(candidate, signing_key())
    if was_withdrawn(registry, bundle.version):
        raise DataError(f"{bundle.version} has the weights of a version that was withdrawn; it is not published")
    folder = registry / bundle.version
    if not (folder / MANIFEST).exists():
        bundle = _created_after(newest, bundle)
        if ab_test is not None:  # before anybody can see the version
            write_mark(registry, bundle.version, ab_test)
        write_bundle(folder, bundle, signing_key())
    return bundle


def withdraw(registry: Path, version: str) -> None:
    """Hide a version for ever.

    No service loads it, and `publish` refuses its weights. Its folder stays, with another name.
    """
    folder = find_bundles(registry)[version]
    folder.rename(folder.with_name(f"{_WITHDRAWN}{version}"))
    mark_path(registry, version).unlink(missing_ok=True)


def was_withdrawn(registry: Path, version: str) -> bool:
    """Return whether a version with the same weights was withdrawn.

    A version ends with the digest of its weights.
    """
    digest = version.rpartition("-")[2]
    return any(path.name.rpartition("-")[2] == digest for path in registry.glob(f"{_WITHDRAWN}*"))


def prune(registry: Path, keep: int, protected: Iterable[str | None]) -> list[str]:
    """Remove all but the newest `keep` bundles, except protected versions.

    Returns:
        The versions removed.
    """
    bundles = find_bundles(registry, signing_key())
    removed = [version for version in list(bundles)[: max(0, len(bundles) - keep)] if version not in protected]
    for version in removed:
        hidden = bundles[version].with_name(f".removed-{bundles[version].name}")
        bundles[version].rename(hidden)  # atomic: no reader finds half a bundle
        shutil.rmtree(hidden)
    return removed


def _created_after(newest: Path | None, bundle: Bundle) -> Bundle:
    """Return the bundle with a creation time after the newest one's.

    The service loads the bundle that was created last, and another machine's clock can be ahead.
    """
    newest_created = "" if newest is None else read_manifest(newest, signing_key()).created
    if bundle.created > newest_created:
        return bundle
    try:
        created = datetime.fromisoformat(newest_created) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise DataError(
            f"{newest} was created at {newest_created!r}, which is not a time; remove or correct it"
        ) from None
    return replace(bundle, created=created.isoformat(timespec="seconds"))
