"""A batch of packed states, folded: what stands between `CpuEngine` and the kernels of `fold` and `packing`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.typing import NDArray

from model.artifact import Bundle
from model.state import F32, StateLayout
from service.engine import fold, packing
from service.engine.packing import Index, Words
from service.engine.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed states end to end; see `packing`."""

    words: Words
    starts: Index

    @property
    def numbers(self) -> F32:
        """The same words as float32."""
        return self.words.view(np.float32)


def join(states: Sequence[bytes]) -> Batch:
    """States, each of whole words, as one batch."""
    starts = np.array([0, *accumulate(len(state) >> 2 for state in states)])
    # A copy in memory of one's own: what is read-only has another type for the kernels.
    return Batch(np.frombuffer(bytearray(b"".join(states)), np.uint32), starts)


class Folder:
    """Folds items into packed states of one model. `kept`: how many rows a state remembers at most."""

    def __init__(self, bundle: Bundle, parameters: Parameters, kept: int) -> None:
        self._parameters = parameters
        self._kept = kept
        self._items = bundle.config.items
        self._taps = bundle.config.conv_width - 1
        self.floats = StateLayout(bundle.config).float_bytes // 4
        self._begin, self.new_history = self._first(bundle.config.start_token)

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a fold."""
        sound = np.empty(len(states.starts) - 1, np.bool_)
        packing.check(states.words, states.starts, self.floats, self._items, sound)
        return sound

    def fold(self, states: Batch, picked: Sequence[int], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """The picked states, which must be sound, after their items' rows: at least one each."""
        p, which = self._parameters, np.array(picked, np.int64)
        new_starts = np.array([0, *accumulate(map(len, rows))])
        new_rows = np.fromiter(chain.from_iterable(rows), np.int64, int(new_starts[-1]))
        owners, starts = np.empty_like(new_rows), np.empty_like(new_starts)
        packing.plan(states.starts, which, self.floats, self._kept, new_starts, owners, starts)
        h, conv = self._unpack(states, which)
        output = np.empty((len(which), p.norm.shape[1]), np.float32)
        fold.advance(p.embedding, p.norm, p.layers, p.offsets, p.widths, new_rows, owners, h, conv, output)
        after = Batch(np.empty(int(starts[-1]), np.uint32), starts)
        packing.pack(
            after.numbers,
            after.words,
            after.starts,
            states.words,
            states.starts,
            which,
            new_rows,
            new_starts,
            p.widths,
            h,
            conv,
            output,
        )
        data, ends = after.words.tobytes(), (after.starts * 4).tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def recurrent(self, state: bytes) -> F32:
        """Every number of a sound state's recurrence, the first layer's conv inputs computed: (L * K * Hp,)."""
        h, conv = self._unpack(join([state]), np.zeros(1, np.int64))
        return np.concatenate([h.ravel(), conv.ravel()])

    def _unpack(self, states: Batch, which: Index) -> tuple[F32, F32]:
        p = self._parameters
        h = np.zeros((len(which), *p.initial_h.shape), np.float32)
        conv = np.zeros((len(which), *p.initial_conv.shape), np.float32)
        recent = np.empty((len(which), self._taps), np.int64)
        packing.unpack(states.numbers, states.words, states.starts, which, self._begin, p.widths, h, conv, recent)
        fold.replay(p.embedding, p.norm, p.layers, p.widths, recent, conv)
        return h, conv

    def _first(self, start_token: bool) -> tuple[F32, bytes]:
        """A history without items: the first layer's conv inputs, which it does not pack, and the packed state."""
        p = self._parameters
        h, conv = p.initial_h[None].copy(), p.initial_conv[None].copy()
        output = np.zeros((1, p.norm.shape[1]), np.float32)
        nobody = np.zeros(1, np.int64)
        if start_token:
            fold.advance(p.embedding, p.norm, p.layers, p.offsets, p.widths, nobody, nobody, h, conv, output)
        after, before = Batch(np.empty(self.floats, np.uint32), np.array([0, self.floats])), join([b""])
        no_rows, starts = np.empty(0, np.int64), np.zeros(2, np.int64)
        packing.pack(
            after.numbers,
            after.words,
            after.starts,
            before.words,
            before.starts,
            nobody,
            no_rows,
            starts,
            p.widths,
            h,
            conv,
            output,
        )
        return np.ascontiguousarray(conv[0, 0]), after.words.tobytes()
