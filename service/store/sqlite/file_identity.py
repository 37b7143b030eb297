"""Check that the open file is still the one at its path."""

from __future__ import annotations

from pathlib import Path

from service.core.errors import StoreUnavailable


class FileIdentity:
    """Identity of the data file and its write-ahead log.

    SQLite goes on writing to a file that was moved or removed, and reports nothing. Acknowledged events would be gone
    after a restart.
    """

    def __init__(self, path: Path) -> None:
        """Remember the file that is open now."""
        self._path = path.absolute()
        self._log = self._path.with_name(f"{self._path.name}-wal")
        self._file_id, self._log_id = _identity(self._path), _identity(self._log)

    def check(self) -> None:
        """Raise `StoreUnavailable` if a file was moved, removed or replaced."""
        self._log_id = self._log_id or _identity(self._log)  # SQLite creates it at the first use
        for path, known in ((self._path, self._file_id), (self._log, self._log_id)):
            if _identity(path) != known:
                raise StoreUnavailable(
                    "the event log's file is gone",
                    for_log=f"{path} was moved, removed or replaced while it is open; put the file back, "
                    "or restart the service to use the file that is there now",
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
