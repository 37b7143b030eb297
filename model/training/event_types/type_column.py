"""Types of the events of a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle.event_types import EventTypes

_COUNTED_EVENTS = 1 << 22  # at a time


@dataclass(frozen=True, slots=True)
class TypeColumn:
    """Types of N events, with the rules of all types.

    Attributes:
        codes: (N,) uint8, number of each event's type; 0 is the default type.
        rules: the rules by name, in order of the numbers. All types are replayed.
    """

    codes: NDArray[np.uint8]
    rules: EventTypes

    @property
    def weights(self) -> NDArray[np.float32]:
        """(T,) weight of each type as a target.

        Below 0, its items are made less likely.
        """
        return np.array([rule.weight for rule in self.rules.values()], np.float32)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(T,) whether the user wanted the items of such events."""
        return np.array([rule.positive for rule in self.rules.values()], np.bool_)

    def codes_under(self, types: EventTypes | None) -> NDArray[np.int64]:
        """Return the number (T,) of each type in another model.

        It is -1 if the model, which has these types, does not replay the type.
        """
        if types is None:  # it replays all but dislikes alike
            return np.where(self.positive, 0, -1)
        numbers = {name: number for number, (name, rule) in enumerate(types.items()) if rule.replay == "replayed"}
        return np.array([numbers.get(name, -1) for name in self.rules], np.int64)

    def take(self, index: Any) -> TypeColumn:  # noqa: ANN401 - whatever indexes an array
        """Return the column of the selected events."""
        return replace(self, codes=self.codes[index])

    def counts(self) -> dict[str, int]:
        """Return the number of events of each type."""
        counts = np.zeros(len(self.rules), np.int64)
        for begin in range(0, len(self.codes), _COUNTED_EVENTS):
            counts += np.bincount(self.codes[begin : begin + _COUNTED_EVENTS], minlength=len(counts))
        return dict(zip(self.rules, counts.tolist(), strict=True))
