"""Definition of an id, shared by the API, loaders and trainer."""

from __future__ import annotations

import re

MAX_ID_CHARACTERS = 256
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]*$"

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
