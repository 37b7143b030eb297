import numpy as np

from service.core.catalogue.columns.hash_slots import HashSlots, fill, size_for

COUNT = 50_000


def found(slots: HashSlots, hashes: np.ndarray, code: int) -> int:
    return slots.find(int(hashes[code]), hashes, lambda found: found == code)


def test_codes_are_found_at_every_moment_of_the_growth() -> None:
    hashes = np.random.default_rng(1).integers(0, 1 << 62, COUNT + 1)
    slots, tables = HashSlots(), 0
    for code in range(1, COUNT + 1):
        slots.add(code, hashes)
        tables = max(tables, len(slots._tables))
        if code % 97 == 0:
            asked = np.array([1, code // 2 or 1, code])
            assert [found(slots, hashes, int(each)) for each in asked] == asked.tolist()
            assert slots.find_many(hashes[asked], hashes).tolist() == asked.tolist()
            assert slots.find(int(hashes[0]), hashes, lambda code: True) == 0
    assert tables == 2  # both were searched meanwhile
    assert slots.find_many(hashes[1:], hashes).tolist() == list(range(1, COUNT + 1))


def test_codes_that_are_added_in_bulk_are_found() -> None:
    hashes = np.random.default_rng(2).integers(0, 1 << 62, COUNT + 1)
    slots, first = HashSlots(), 1
    for added in (0, 1, 10, 3000, 40, 20_000, 1, 26_948):
        slots.add_many(first, first + added - 1, hashes)
        first += added
        assert slots.find_many(hashes[1:first], hashes).tolist() == list(range(1, first))
    assert first == COUNT + 1
    assert slots.nbytes == 4 * size_for(COUNT)


def test_slots_of_another_table_can_be_taken_over() -> None:
    hashes = np.random.default_rng(3).integers(0, 1 << 62, 1001)
    array = np.zeros(size_for(1000), np.int32)
    fill(array, hashes, 1, 1000)
    slots = HashSlots(array)
    assert slots.find_many(hashes[1:], hashes).tolist() == list(range(1, 1001))


def test_codes_of_one_hash_are_all_found() -> None:
    hashes = np.full(301, 5)
    slots = HashSlots()
    for code in range(1, 301):
        slots.add(code, hashes)
    assert [found(slots, hashes, code) for code in range(1, 301)] == list(range(1, 301))
