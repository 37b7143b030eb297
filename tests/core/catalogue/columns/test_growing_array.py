import numpy as np

from service.core.catalogue.columns.growing_array import GrowingArray, GrownTogether, grown_capacity

COUNT = 300_000


def test_values_survive_the_growth_in_slices() -> None:
    array = GrowingArray(np.int64, -1)
    expected = np.arange(COUNT)
    largest_copy = 0
    for index in range(0, COUNT, 100):
        before = array._copied
        array.reserve(index + 100, 100)
        largest_copy = max(largest_copy, array._copied - before)
        array.write(slice(index, index + 100), expected[index : index + 100])
        if index > 50_000:  # while it grows, old values change too
            array.set(index // 2, -index)
            expected[index // 2] = -index
    assert np.array_equal(array.data[:COUNT], expected)
    assert (array.data[COUNT:] == -1).all()
    assert 0 < largest_copy <= 16_384


def test_array_never_grows_all_at_once_if_values_arrive_in_pages() -> None:
    array, at_once = GrowingArray(np.uint8), 0
    resize = array.resize

    def counted(capacity: int) -> None:
        nonlocal at_once
        at_once += len(array.data) > 65_536
        resize(capacity)

    array.resize = counted  # type: ignore[method-assign]
    for length in range(1000, 2_000_000, 1000):
        array.reserve(length, 1000)
    assert at_once == 0


def test_thread_that_took_the_array_keeps_valid_values() -> None:
    array = GrowingArray(np.int8, 7)
    array.reserve(10)
    taken = array.data
    array.set(3, 1)
    array.reserve(1_000_000)
    assert taken[3] == 1 == array.data[3]
    assert len(array.data) == grown_capacity(1_000_000)


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
