"""API keys of the settings and of the key file.

The file is read again when it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from service.api_keys import ApiKey, RetiredScopeError, parse_key
from service.core.periodic_task import PeriodicTask

_log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
MAX_FILE_BYTES = 1024 * 1024


class KeyFileError(Exception):
    """The key file cannot be used.

    The message names the line and never repeats it.
    """


def read_key_file(file: Path) -> bytes:
    """Return the content of `file`; raises `KeyFileError`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(error.strerror or "the file cannot be read") from None
    if len(content) > MAX_FILE_BYTES:
        raise KeyFileError("the file is larger than 1 MiB")
    return content


def parse_key_file(content: bytes) -> tuple[ApiKey, ...]:
    """Parse one entry a line; `#` begins a comment line.

    A file without entries is refused: it is more often truncated than meant.

    Raises:
        KeyFileError: A line is not an entry, or there is none.
    """
    keys: list[ApiKey] = []
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise KeyFileError("the file is not UTF-8") from None
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        try:
            keys.append(parse_key(entry, f"file-{len(keys) + 1}"))
        except RetiredScopeError as error:
            raise KeyFileError(f"line {number}: {error}") from None
        except ValueError as error:
            raise KeyFileError(f"line {number}: {error}") from None
    if not keys:
        raise KeyFileError("the file has no keys")
    return tuple(keys)


class KeyRing:
    """The API keys that are valid now.

    Args:
        fixed: Keys of the settings.
        file: Key file; None: only the fixed keys.
    """

    def __init__(self, fixed: Sequence[ApiKey] = (), file: Path | None = None) -> None:
        self.keys: tuple[ApiKey, ...] = tuple(fixed)
        self.configured = bool(fixed) or file is not None
        self._fixed = tuple(fixed)
        self._file = file
        self._used: bytes | None = None
        self._seen: bytes | None = None
        self._problem: str | None = None
        self._task = PeriodicTask(self._step, _log, "cannot check the key file", retry_seconds=CHECK_SECONDS)

    def load(self) -> None:
        """Read the key file now; raises `KeyFileError`."""
        if self._file is not None:
            content = read_key_file(self._file)
            self.keys = (*self._fixed, *parse_key_file(content))
            self._used = self._seen = content

    def load_or_log(self) -> None:
        """Read the key file now; log a problem.

        A worker must not stop the service because of a file that is damaged later than the start. Until the file is
        mended, the worker knows the fixed keys only and stays closed to all others.
        """
        try:
            self.load()
        except KeyFileError as error:
            self._report(str(error))

    def watch(self) -> None:
        """Begin to check the key file every second."""
        if self._file is not None:
            self._task.start()

    async def close(self) -> None:
        """Stop checking."""
        await self._task.close()

    def check(self) -> None:
        """Use the key file's content if it has changed and is valid.

        A change counts when two checks see it, so that no half-written file is used.
        """
        assert self._file is not None  # noqa: S101 - watch() has checked
        try:
            content = read_key_file(self._file)
            changed, repeated = content != self._used, content == self._seen
            self._seen = content
            if changed and repeated:
                self.keys = (*self._fixed, *parse_key_file(content))
                self._used = content
                _log.info("read the key file again", extra={"file": str(self._file), "keys": len(self.keys)})
            if not changed or repeated:
                self._problem = None
        except KeyFileError as error:
            self._report(str(error))

    def _report(self, problem: str) -> None:
        """Log a problem of the key file once."""
        if problem != self._problem:
            self._problem = problem
            extra = {"file": str(self._file), "reason": problem}
            _log.error("cannot use the key file; keeping the known keys", extra=extra)

    async def _step(self) -> float:
        await asyncio.to_thread(self.check)
        return CHECK_SECONDS
