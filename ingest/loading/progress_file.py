"""A small file that remembers how far a load came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ingest.errors import DataError


class ProgressFile:
    """Progress of one load.

    Args:
        path: where it is kept.
        identity: what is loaded whereto; a file of another load is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity

    def read(self) -> int:
        """Return how much earlier runs have done; raises `DataError`."""
        if not self._path.exists():
            return 0
        try:
            found = json.loads(self._path.read_text("utf-8"))
            done = int(found.pop("done"))
        except (ValueError, KeyError, AttributeError):
            raise DataError(f"{self._path} is damaged; remove it to begin anew") from None
        if found != self._identity:
            raise DataError(
                f"{self._path} is of another load ({found.get('source')} to {found.get('url')}); remove it, "
                "or name another file with --progress"
            )
        return done

    def write(self, done: int) -> None:
        """Remember that so much is done."""
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(self._identity | {"done": done}), "utf-8")
        part.replace(self._path)

    def remove(self) -> None:
        """Forget the load, because it has ended."""
        self._path.unlink(missing_ok=True)
