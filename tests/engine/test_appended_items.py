from __future__ import annotations

import numpy as np

from service.engine.appended_items import AppendedItems
from tests.engine.extended import new_vectors


def test_earlier_items_never_show_later_ones() -> None:
    vectors, states = new_vectors(700, 5), [AppendedItems.none(10, 5)]
    for n, vector in enumerate(vectors):
        states.append(states[-1].append([(f"new-{n}", vector)]))
    for count in (0, 1, 255, 256, 257, 600):
        items = states[count]
        assert (items.count, items.last_row) == (count, 10 + count)
        assert np.array_equal(items.vectors, vectors[:count])
        assert np.allclose(items.inverse_norms * np.linalg.norm(vectors[:count], axis=1), 1.0)
        assert [items.row_of(f"new-{n}") for n in range(700)] == [*range(11, 11 + count), *[0] * (700 - count)]
        assert [items.id_of(row) for row in range(11, 11 + count)] == [f"new-{n}" for n in range(count)]
        assert items.everything.full == items.everything.count == 10 + count
