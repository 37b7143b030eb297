"""Reads and writes of packed states, for `step_kernel`.

Axes: M users of a program, K conv taps, H channels. Widths are padded to powers of two.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def check_states(words_ptr, start, end, numbers, floats, items, types, M: tl.constexpr):
    """Return which states (M,) have finite numbers, known types and known rows.

    The types are between the words `numbers` and `floats`.
    """
    odd = tl.zeros([M], tl.int32)
    longest = tl.max(end - start, axis=0)
    for first in range(0, longest, 128):
        n = first + tl.arange(0, 128)
        at = start[:, None] + n[None, :]
        word = tl.load(words_ptr + at, at < end[:, None], 1)
        wrong = tl.where((n < floats)[None, :], (word < 0) | (word >= types), (word <= 0) | (word > items))
        wrong = tl.where((n < numbers)[None, :], (word & 0x7F800000) == 0x7F800000, wrong)
        odd += tl.sum(wrong.to(tl.int32), axis=1)
    return odd == 0


@triton.jit
def copy_rows(words_ptr, out_ptr, start, end, new_row, out_start, out_end, floats):
    """Write the newest rows that fit, the new one last."""
    room = out_end - out_start - floats
    old = tl.minimum(tl.where(new_row > 0, room - 1, room), end - start - floats)
    longest = tl.max(old, axis=0)
    for first in range(0, longest, 128):
        n = first + tl.arange(0, 128)
        inside = n[None, :] < old[:, None]
        word = tl.load(words_ptr + (end - old)[:, None] + n[None, :], inside, 0)
        tl.store(out_ptr + (out_start + floats)[:, None] + n[None, :], word, inside)
    tl.store(out_ptr + out_end - 1, new_row, (new_row > 0) & (room > 0))


@triton.jit
def copy_numbers(words_ptr, out_ptr, start, out_start, unchanged, floats):
    """Copy the numbers of states without a new event."""
    for first in range(0, floats, 128):
        n = first + tl.arange(0, 128)
        inside = (n < floats)[None, :] & unchanged[:, None]
        word = tl.load(words_ptr + start[:, None] + n[None, :], inside, 0)
        tl.store(out_ptr + out_start[:, None] + n[None, :], word, inside)


@triton.jit
def last_rows(words_ptr, start_ptr, end_ptr, new_row_ptr, users, floats, items, K: tl.constexpr, KP: tl.constexpr,
              USERS: tl.constexpr):  # fmt: skip
    """Return the rows of the last K items of each user.

    Line user * KP + tap holds one, the new item at tap K - 1, and 0 if there is none.
    """
    line = tl.arange(0, USERS * KP)
    owner = tl.program_id(0) * USERS + line // KP
    here = owner < users
    end = tl.load(end_ptr + owner, here, 0)
    known = end - tl.load(start_ptr + owner, here, 0) - floats
    back = K - 1 - line % KP
    row = tl.load(words_ptr + end - back, here & (back > 0) & (back <= known), 0)
    row = tl.where(back == 0, tl.load(new_row_ptr + owner, here, 0), row)
    return tl.minimum(tl.maximum(row, 0), items).to(tl.int64)


@triton.jit
def last_types(words_ptr, start_ptr, new_type_ptr, users, numbers, types, K: tl.constexpr, KP: tl.constexpr,
               USERS: tl.constexpr):  # fmt: skip
    """Return the types of the last K events of each user.

    Lines are those of `last_rows`.
    """
    line = tl.arange(0, USERS * KP)
    owner = tl.program_id(0) * USERS + line // KP
    here, tap = owner < users, line % KP
    start = tl.load(start_ptr + owner, here, 0)
    found = tl.load(words_ptr + start + numbers + tap, here & (tap < K - 1), 0)
    found = tl.where(tap == K - 1, tl.load(new_type_ptr + owner, here, 0), found)
    return tl.minimum(tl.maximum(found, 0), types - 1).to(tl.int64)


@triton.jit
def store_types(types, out_ptr, out_start, moved, numbers, K: tl.constexpr, KP: tl.constexpr, USERS: tl.constexpr):
    """Write the types of the last K - 1 events."""
    k = tl.arange(0, KP)
    each = tl.reshape(types.to(tl.int32), [USERS, KP])
    inside = (k > 0)[None, :] & (k < K)[None, :] & moved[:, None]
    tl.store(out_ptr + (out_start + numbers)[:, None] + (k - 1)[None, :], each, inside)


@triton.jit
def bottom_inputs(inputs, initial_conv_ptr, known, here, K: tl.constexpr, H: tl.constexpr, KP: tl.constexpr,
                  HP: tl.constexpr):  # fmt: skip
    """Return layer 0's conv inputs (M, KP, HP).

    If fewer than K - 1 rows are `known`, the earlier ones are those of a history without items.
    """
    k = tl.arange(0, KP)
    c = tl.arange(0, HP)
    absent = ((K - 1 - k)[None, :] > known[:, None]) & here[:, None]
    at = (k[None, :] + known[:, None])[:, :, None] * H + c[None, None, :]
    first = tl.load(initial_conv_ptr + at, absent[:, :, None] & (c < H)[None, None, :], 0.0)
    return tl.where(absent[:, :, None], first, inputs)


@triton.jit
def upper_inputs(x, numbers_ptr, results_ptr, at, out_at, here, moved, K: tl.constexpr, H: tl.constexpr,
                 KP: tl.constexpr, HP: tl.constexpr):  # fmt: skip
    """Return an upper layer's conv inputs (M, KP, HP).

    x (M, HP) is the newest; the last K - 1 go to the next state.
    """
    k = tl.arange(0, KP)
    c = tl.arange(0, HP)
    inside = (c < H)[None, None, :]
    offset = k[None, :, None] * H + c[None, None, :]
    stored = (k < K - 1)[None, :, None] & here[:, None, None]
    inputs = tl.load(numbers_ptr + at[:, None, None] + offset, stored & inside, 0.0)
    inputs = tl.where((k == K - 1)[None, :, None], x[:, None, :], inputs)
    later = (k > 0)[None, :, None] & (k < K)[None, :, None] & moved[:, None, None]
    tl.store(results_ptr + out_at[:, None, None] + offset - H, inputs, later & inside)
    return inputs
