import numpy as np

from service.core.catalogue.columns.growing_array import GrowingArray
from service.core.catalogue.columns.grown_together import GrownTogether


def arrays_and_room() -> tuple[list[GrowingArray[np.int32]], GrownTogether]:
    arrays = [GrowingArray(np.int32, number) for number in range(5)]
    return arrays, GrownTogether(lambda: arrays)


def test_all_arrays_have_room_for_every_row_and_keep_their_values() -> None:
    arrays, room = arrays_and_room()
    for row in range(1, 60_000):
        room.reserve(row + 1)
        for number, array in enumerate(arrays):
            array.set(row, row * number)
    for number, array in enumerate(arrays):
        assert np.array_equal(array.data[1:60_000], np.arange(1, 60_000) * number)
        assert (array.data[60_000:] == number).all()


def test_arrays_grow_one_after_another() -> None:
    arrays, room = arrays_and_room()
    room.reserve(30_000)
    capacity = len(arrays[0].data)
    growing = 0
    for rows in range(30_000, capacity + 1):
        room.reserve(rows)
        growing = max(growing, sum(array._larger is not None for array in arrays))
    assert growing == 1
    assert min(len(array.data) for array in arrays) > capacity


def test_array_that_joins_during_growth_has_room_too() -> None:
    arrays, room = arrays_and_room()
    room.reserve(30_000)
    capacity = len(arrays[0].data)
    room.reserve(capacity - 1)
    joined = GrowingArray(np.int32, 9)
    room.adopt(joined)
    arrays.append(joined)
    for rows in range(capacity, capacity + 500):
        room.reserve(rows)
        joined.set(rows - 1, rows)
    assert joined.data[capacity + 499 - 1] == capacity + 499
