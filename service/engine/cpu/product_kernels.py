"""Kernel of the matrix products: rows times weights in panels (see `weights`)."""

from __future__ import annotations

from model.compiled.array_types import F32
from model.compiled.jit import kernel
from service.engine.cpu.weights import PANEL


@kernel
def product(x: F32, n: int, weights: F32, sums: F32, y: F32) -> None:
    """Set y[r] = bias + x[r] W for r < n.

    x is (ROWS, in), y is (ROWS, out), and the weights are in panels.

    A panel's sums for four rows and four of its lines fit into vector registers, and each loaded line serves four
    rows. Two or three remaining rows are computed as four, and the extra ones are not read. A single remaining row
    takes eight lines at a time.
    """
    r = 0
    while r < n:
        if n - r == 1:
            _product_of_one(x[r], weights, y[r])
        else:
            _product_of_four(x[r : r + 4], weights, sums, y[r : r + 4])
        r += 4


@kernel
def _product_of_four(x: F32, weights: F32, sums: F32, y: F32) -> None:
    # LLVM does not vectorise a loop with an index that may be negative, so loops run from zero over slices.
    width = x.shape[1]
    for panel in range(y.shape[1] // PANEL):
        begin = panel * (1 + width) * PANEL
        for r in range(4):
            sums[r * PANEL : (r + 1) * PANEL] = weights[begin : begin + PANEL]
        for i in range(0, width, 4):
            begin += 4 * PANEL
            lines = weights[begin - 3 * PANEL : begin + PANEL]
            a0, a1, a2, a3 = x[0, i], x[0, i + 1], x[0, i + 2], x[0, i + 3]
            b0, b1, b2, b3 = x[1, i], x[1, i + 1], x[1, i + 2], x[1, i + 3]
            c0, c1, c2, c3 = x[2, i], x[2, i + 1], x[2, i + 2], x[2, i + 3]
            d0, d1, d2, d3 = x[3, i], x[3, i + 1], x[3, i + 2], x[3, i + 3]
            for j in range(PANEL):
                w0, w1, w2, w3 = lines[j], lines[PANEL + j], lines[2 * PANEL + j], lines[3 * PANEL + j]
                sums[j] = sums[j] + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                sums[PANEL + j] = sums[PANEL + j] + b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                sums[2 * PANEL + j] = sums[2 * PANEL + j] + c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                sums[3 * PANEL + j] = sums[3 * PANEL + j] + d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
        for r in range(4):
            y[r, panel * PANEL : (panel + 1) * PANEL] = sums[r * PANEL : (r + 1) * PANEL]


@kernel
def _product_of_one(x: F32, weights: F32, y: F32) -> None:
    width = len(x)
    for panel in range(len(y) // PANEL):
        begin = panel * (1 + width) * PANEL
        sums = y[panel * PANEL : (panel + 1) * PANEL]
        sums[:] = weights[begin : begin + PANEL]
        for i in range(0, width, 8):
            begin += 8 * PANEL
            lines = weights[begin - 7 * PANEL : begin + PANEL]
            a0, a1, a2, a3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            a4, a5, a6, a7 = x[i + 4], x[i + 5], x[i + 6], x[i + 7]
            for j in range(PANEL):
                # Two chains of four additions run in parallel; one chain of eight would not.
                even = a0 * lines[j] + a2 * lines[2 * PANEL + j]
                even = even + a4 * lines[4 * PANEL + j] + a6 * lines[6 * PANEL + j]
                odd = a1 * lines[PANEL + j] + a3 * lines[3 * PANEL + j]
                odd = odd + a5 * lines[5 * PANEL + j] + a7 * lines[7 * PANEL + j]
                sums[j] += even + odd
