"""Misspelled settings in the environment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MIN_SIMILARITY = 0.75  # difflib's ratio from which a wrong name is taken for a misspelled setting


def unknown_variable(names: Iterable[str], prefix: str, known: set[str]) -> str | None:
    """Return a sentence about the first unknown name with `prefix`."""
    for name in names:
        if name.upper().startswith(prefix) and name.upper() not in known:
            # Compared without the prefix, which would make any two names similar.
            typed, others = name.upper().removeprefix(prefix), [each.removeprefix(prefix) for each in known]
            similar = difflib.get_close_matches(typed, others, n=1, cutoff=_MIN_SIMILARITY)
            if similar:
                advice = f"did you mean {prefix}{similar[0]}?"
            else:
                advice = f"the settings are {', '.join(sorted(known))}."
            return f"{name} is not a setting of this service; unset it or correct its name: {advice}"
    return None
