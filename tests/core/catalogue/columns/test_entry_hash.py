import numpy as np
import pytest

from service.core.catalogue.columns import entry_hash
from service.core.catalogue.columns.entry_hash import HashKey, new_key


def test_key_gives_the_same_hash_everywhere() -> None:
    key = HashKey(1_234_567_890_123_456_789, (1 << 61) - 1)
    assert key.of(b"item-1") == key.of_many([b"item-1"])[0] == 1_475_674_831_339_719_131


def test_hashes_of_similar_strings_fill_all_slots() -> None:
    hashes = new_key().of_many([f"item-{number}".encode() for number in range(100_000)])
    assert hashes.dtype == np.int64 and (hashes >= 0).all()
    assert len(np.unique(hashes)) == 100_000
    taken = np.bincount(hashes & 0xFFFF, minlength=1 << 16)
    assert taken.max() < 20  # as chance has it: 1.5 on average


def test_strings_that_end_in_zeros_have_hashes_of_their_own() -> None:
    assert len({new_key().of(b"a" + bytes(length)) for length in range(100)}) == 100
    key = new_key()
    assert len({key.of(b"a" + bytes(length)) for length in range(100)}) == 100


def test_each_process_has_another_key() -> None:
    keys = [new_key() for _ in range(5)]
    assert len({key.modulus for key in keys}) == len({key.multiplier for key in keys}) == 5


@pytest.mark.parametrize("number", [3, 37, (1 << 61) - 1, 4_611_686_018_427_387_847])
def test_primes_are_recognised(number: int) -> None:
    assert entry_hash._is_prime(number)


@pytest.mark.parametrize("number", [9, 561, 3_215_031_751, ((1 << 31) - 1) ** 2, (1 << 61) + 1])
def test_composite_numbers_are_recognised(number: int) -> None:
    assert not entry_hash._is_prime(number)
