"""Engines of one worker, and the reasons of failed loads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

from service.core.errors import BundleRefusedError, ServiceError
from service.core.ports import Bundles, Engine

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Reason of a failed load, and its time by `time.monotonic`."""

    reason: str
    at: float


class LoadedEngines:
    """Engines of one worker by version.

    At most one bundle loads in the background.
    """

    def __init__(self, bundles: Bundles, retry_seconds: float) -> None:
        """Create the empty set; refused versions may be retried after `retry_seconds`."""
        self._bundles = bundles
        self._retry_seconds = retry_seconds
        self._engines: dict[str, Engine] = {}
        self._refusals: dict[str, _Refusal] = {}
        self._background_load: asyncio.Task[None] | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The loaded versions, in alphabetical order."""
        return tuple(sorted(self._engines))

    @property
    def refusals(self) -> dict[str, str]:
        """The reason for each version that could not be loaded."""
        return {version: refusal.reason for version, refusal in self._refusals.items()}

    def has_all(self, versions: Collection[str]) -> bool:
        """Return whether all these versions are loaded."""
        return all(version in self._engines for version in versions)

    def get_all(self, versions: Collection[str]) -> tuple[Engine, ...]:
        """Return the engines of these loaded versions, in this order."""
        return tuple(self._engines[version] for version in versions)

    async def load(self, version: str) -> None:
        """Load the version unless it is loaded; raise as `Bundles.load` does."""
        await self.wait_for_background_load()
        if version not in self._engines:
            self._engines[version] = await self._bundles.load(version)

    def load_in_background(self, version: str, *, retry: bool) -> None:
        """Start to load the version in the background.

        Nothing happens if it is loaded, or while another version is loading. A refused version is skipped, but tried
        again after `retry_seconds` if `retry` is true.
        """
        if version in self._engines or self._background_load is not None:
            return
        refusal = self._refusals.get(version)
        if refusal is None or (retry and time.monotonic() - refusal.at >= self._retry_seconds):
            self._background_load = asyncio.create_task(self._load_or_record_refusal(version))

    async def wait_for_background_load(self) -> bool:
        """Wait for the load in the background; return whether there was one."""
        if self._background_load is None:
            return False
        await self._background_load
        return True

    def keep_only(self, versions: Collection[str]) -> None:
        """Release all other engines. Requests that still use one keep it alive."""
        for version in self._engines.keys() - set(versions):
            del self._engines[version]

    def forget_refusals(self) -> None:
        """Let refused versions be tried again."""
        self._refusals = {}

    async def close(self) -> None:
        """Cancel the load in the background."""
        if self._background_load is not None:
            self._background_load.cancel()
            await asyncio.gather(self._background_load, return_exceptions=True)

    async def _load_or_record_refusal(self, version: str) -> None:
        repeated = version in self._refusals  # the first refusal is in the log already
        try:
            self._engines[version] = await self._bundles.load(version)
            self._refusals.pop(version, None)
        except (BundleRefusedError, ServiceError) as error:
            if not repeated:
                _log.warning("cannot load a model", extra={"version": version, "reason": error.for_log})
            self._refusals[version] = _Refusal(str(error), time.monotonic())
        except Exception:
            if not repeated:
                _log.exception("cannot load a model", extra={"version": version})
            self._refusals[version] = _Refusal("loading failed; see this worker's log", time.monotonic())
        finally:
            self._background_load = None
