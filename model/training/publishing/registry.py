"""The folder of versions that a service reads: which one is live, how one is added, and which ones go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from model.bundle.bundle import MANIFEST, Bundle, find_bundles, load_bundle, read_manifest, write_bundle
from model.bundle.signature import signing_key
from model.training.errors import DataError


def newest_bundle(bundles: Path) -> Path | None:
    """The folder of the live bundle, or None where there is none yet; raises `BundleError` and `DataError`."""
    if (bundles / MANIFEST).exists():
        raise DataError(f"{bundles} is one bundle; give --bundles the folder of versions, which is RECBLR_BUNDLE")
    if not any(bundles.glob(f"*/{MANIFEST}")):
        return None
    return next(reversed(find_bundles(bundles).values()))


def release(bundles: Path, candidate: Path) -> Bundle:
    """Put the bundle `candidate` among the versions, as the newest; one that is there already stays as it is."""
    live, bundle = newest_bundle(bundles), load_bundle(candidate)
    folder = bundles / bundle.version
    if not (folder / MANIFEST).exists():
        bundle = _newer_than(live, bundle)
        write_bundle(folder, bundle, signing_key())
    return bundle


def _newer_than(live: Path | None, bundle: Bundle) -> Bundle:
    """The bundle with a time of creation after the live one's, which another clock may have set in the future.

    The newest bundle is the one that the service loads.
    """
    before = "" if live is None else read_manifest(live).created
    if bundle.created > before:
        return bundle
    try:
        after = datetime.fromisoformat(before) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise DataError(f"{live} was created at {before!r}, which is no time; remove or correct it") from None
    return replace(bundle, created=after.isoformat(timespec="seconds"))


def prune(bundles: Path, keep: int, protected: Iterable[str | None]) -> list[str]:
    """Remove all but the newest `keep` bundles, never a protected one; the versions removed."""
    found = find_bundles(bundles)
    removed = [version for version in list(found)[: max(0, len(found) - keep)] if version not in protected]
    for version in removed:
        aside = found[version].with_name(f".removed-{found[version].name}")
        found[version].rename(aside)  # at once, so that nobody begins to read half a bundle
        shutil.rmtree(aside)
    return removed
