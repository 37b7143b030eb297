"""Rules of ids, types and values of events.

The API, the settings, the loaders and the trainer share them.
"""

from __future__ import annotations

import re

MAX_ID_CHARACTERS = 256
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]*$"

DEFAULT_TYPE = "view"  # of an event without a type; kept as ""
EVENT_TYPE = r"[a-z][a-z0-9_]{0,31}"
MAX_VALUE = 1e12  # of an event, in either direction

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def id_problem(value: str) -> str | None:
    """Return why `value` is not a valid id, or None.

    The text is the end of a sentence that begins with the name of the field.
    """
    if not value:
        return "is empty"
    if len(value) > MAX_ID_CHARACTERS:
        return f"has {len(value)} characters; at most {MAX_ID_CHARACTERS} are allowed"
    if found := _CONTROL.search(value):
        return f"holds the control character U+{ord(found[0]):04X}"
    return None
