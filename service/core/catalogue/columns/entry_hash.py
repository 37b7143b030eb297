"""Keyed hash of byte strings, the same in every process."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BITS = 62  # a hash fits in an int64
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide primality below 2**64


class HashKey(NamedTuple):
    """Key of a hash: the number times `multiplier`, modulo a prime.

    The string is read as a number. Python's own hash differs from process to process, and a snapshot of the columns
    holds hashes. Without the key nobody can make up strings of equal hashes, which would slow every search down.
    """

    multiplier: int
    modulus: int

    def of(self, entry: bytes) -> int:
        """Return the hash of one string."""
        return (int.from_bytes(entry, "little") * self.multiplier + len(entry)) % self.modulus

    def of_many(self, entries: Iterable[bytes]) -> NDArray[np.int64]:
        """Return the hashes of several strings."""
        multiplier, modulus, number = self.multiplier, self.modulus, int.from_bytes
        return np.array(
            [(number(entry, "little") * multiplier + len(entry)) % modulus for entry in entries], np.int64
        )


def new_key() -> HashKey:
    """Return a random key."""
    while not _is_prime(modulus := secrets.randbits(_BITS - 1) | 1 << (_BITS - 1) | 1):
        pass
    return HashKey(secrets.randbelow(modulus - 2) + 2, modulus)


def _is_prime(number: int) -> bool:
    """Return whether an odd number is prime (Miller and Rabin)."""
    if any(number % prime == 0 for prime in _WITNESSES):
        return number in _WITNESSES
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in _WITNESSES:
        power = pow(witness, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


PROCESS_KEY = new_key()
