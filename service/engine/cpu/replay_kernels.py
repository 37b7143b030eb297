"""Kernels of the RecBLR network, which replay items onto users' states.

All events form one array ordered by user, processed ROWS at a time across users. Products take these rows together,
so weights are read once for four events. The convolution and the recurrence walk
the rows in order and continue each user's state in place. One event of one user, a batch and the backfill of long
histories are the same code, without padding in time.

Axes: B users, N events, D model width, H channels, K conv taps, L layers; Dp, Hp, Fp as in `KernelWeights`. float32.
Events are codes of row and type (see `state_codec`).
"""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.engine.cpu.elementwise_kernels import add_norm, silu
from service.engine.cpu.product_kernels import product
from service.engine.cpu.recurrence_kernels import convolve, keep_last_rows, recur
from service.engine.cpu.weights import PANEL
from service.engine.state_codec import ROW_MASK, TYPE_BITS, Layout, pack_states, unpack_states

# Rows processed together, a multiple of four (see `product`). All intermediates of sixteen rows take 80 KB at the
# default widths and stay in a core's second-level cache beside the weights.
ROWS = 16

Widths = tuple[int, int, int, int, int, int]


@kernel
def replay(
    embedding: F32, appended: F32, types: F32, norm: F32, layers: F32, offsets: I64, widths: Widths,
    initial_conv: F32, layout: Layout, max_rows: int, words: U32, starts: I64, selected: I64,
    events: I64, event_starts: I64,
) -> tuple[U32, I64]:  # fmt: skip
    """Replay events onto packed states: one compiled call for all steps.

    Args:
        embedding, types, norm, layers, offsets, widths: the weights; see `KernelWeights`.
        appended: (n, D) vectors of the rows after those of the embedding.
        initial_conv: the first layer's conv inputs of a history without items (K - 1, Hp).
        layout, max_rows: the form of a state; see `StateCodec`.
        words, starts: packed states; see `StateBatch`.
        selected: indices of the B states to advance.
        events: all events (N,), user after user, oldest first.
        event_starts: where the events of each user begin (B + 1,).

    Returns:
        Words and starts of the selected states after their events.
    """
    _, _, _, Dp, Hp, _ = widths
    h, conv, recent = unpack_states(words, starts, selected, layout, Hp, initial_conv)
    recompute_conv_inputs(embedding, appended, types, norm, layers, widths, recent, conv)
    owners, output = np.empty(len(events), np.int64), np.empty((len(selected), Dp), np.float32)
    for user in range(len(selected)):
        owners[event_starts[user] : event_starts[user + 1]] = user
    advance(embedding, appended, types, norm, layers, offsets, widths, events, owners, h, conv, output)
    return pack_states(words, starts, selected, events, event_starts, layout, max_rows, h, conv, output)


@kernel
def advance(
    embedding: F32, appended: F32, types: F32, norm: F32, layers: F32, offsets: I64, widths: Widths,
    events: I64, owners: I64, h: F32, conv: F32, output: F32,
) -> None:  # fmt: skip
    """Advance states by events, in place.

    Args:
        embedding, appended, types, norm, layers, offsets, widths: see `replay`.
        events: code of each event (N,).
        owners: user of each event (N,); the events of one user are adjacent, oldest first.
        h: recurrent states (B, L, Hp), updated.
        conv: conv inputs (B, L, K - 1, Hp), oldest first, updated.
        output: the network's output after each user's last event (B, Dp), overwritten.
    """
    D, _, K, Dp, Hp, Fp = widths
    u, y = np.zeros((ROWS, Dp), np.float32), np.zeros((ROWS, Dp), np.float32)
    x, inner = np.zeros((ROWS, Hp), np.float32), np.zeros((ROWS, Fp), np.float32)
    projected, gates = np.zeros((ROWS, 2 * Hp), np.float32), np.zeros((ROWS, 2 * Hp), np.float32)
    sums, users = np.empty(4 * PANEL, np.float32), np.empty(ROWS, np.int64)
    for start in range(0, len(events), ROWS):
        n = min(ROWS, len(events) - start)
        users[:n] = owners[start : start + n]
        _look_up(embedding, appended, types, norm, events[start : start + n], u, D)
        for layer in range(len(layers)):
            part = layers[layer]
            product(u, n, part[offsets[0] :], sums, projected)
            convolve(projected, n, users, layer, part[offsets[5] :], part[offsets[6] :], K, conv, x)
            product(x, n, part[offsets[1] :], sums, gates)
            recur(x, gates, projected, n, users, layer, part[offsets[7] :], h)
            if layer + 1 == len(layers):  # only the output after a user's last event is used (decision 0060)
                n = keep_last_rows(owners[start : start + n + 1], users, n, x, u)
            product(x, n, part[offsets[2] :], sums, y)
            for r in range(n):
                add_norm(y[r], u[r], part[offsets[8] :], D)
            product(y, n, part[offsets[3] :], sums, inner)
            for r in range(n):
                silu(inner[r])
            product(inner, n, part[offsets[4] :], sums, u)
            for r in range(n):
                add_norm(u[r], y[r], part[offsets[9] :], D)
        for r in range(n):
            output[users[r]] = u[r]


@kernel
def recompute_conv_inputs(
    embedding: F32, appended: F32, types: F32, norm: F32, layers: F32, widths: Widths, recent: I64, conv: F32
) -> None:
    """Write the first layer's conv inputs, conv[:, 0].

    They follow from each user's last events, recent (B, K - 1).

    An event of -1 leaves its input as it is. The x half is the first half of the layer's first panels, so the product
    computes nothing else.
    """
    D, _, _, Dp, Hp, _ = widths
    u, x = np.zeros((ROWS, Dp), np.float32), np.zeros((ROWS, Hp), np.float32)
    sums = np.empty(4 * PANEL, np.float32)
    events = recent.reshape(-1)
    for start in range(0, len(events), ROWS):
        n = min(ROWS, len(events) - start)
        _look_up(embedding, appended, types, norm, np.maximum(events[start : start + n], 0), u, D)
        product(u, n, layers[0], sums, x)
        for r in range(n):
            if events[start + r] >= 0:
                user, k = divmod(start + r, recent.shape[1])
                conv[user, 0, k] = x[r]


@kernel
def _look_up(embedding: F32, appended: F32, types: F32, norm: F32, events: I64, u: F32, D: int) -> None:
    """Set u[r] = LayerNorm(embedding[row] + types[type]) of each event."""
    for r in range(len(events)):
        row, event_type = events[r] & ROW_MASK, events[r] >> TYPE_BITS
        vector = embedding[row] if row < len(embedding) else appended[row - len(embedding)]
        for d in range(D):
            u[r, d] = vector[d]
        for d in range(D, u.shape[1]):
            u[r, d] = np.float32(0)
        add_norm(u[r], types[event_type], norm.reshape(-1), D)
