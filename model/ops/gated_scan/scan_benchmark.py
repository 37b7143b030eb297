"""Benchmark of the gated scan on a GPU.

    python -m model.ops.gated_scan.scan_benchmark

Compares the kernels with the published code's method and with the device's copy rate. Prints a line per shape, and
JSON as the last line. Times are medians in milliseconds; with gradients they include the host's launch time if that
is longer than the device's. The byte limit is the time to read each input and write each output once, at the copy
rate of the same run. Forward, that is 4 numbers per step and channel (x, two gates, h). Backward, it is 8 (dh, x, two
gates, h; dx, two dgates).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench

from model.ops.gated_scan.dispatch import gated_scan
from model.ops.gated_scan.published_baseline import gated_scan_published

# Shapes (B, T, H) of the performance targets, and of a training step.
SHAPES = ((2048, 200, 128), (64, 8192, 128), (184, 200, 128))
_FORWARD, _BACKWARD = 4, 8


def copy_rate() -> float:
    """Return bytes per second, read and written, of a large copy."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / (_median(lambda: target.copy_(source)) / 1e3)


def measure(shape: tuple[int, int, int], rate: float) -> dict[str, Any]:
    """Measure both implementations at one shape in float32."""
    B, T, H = shape
    x = torch.randn(B, T, H, device="cuda", requires_grad=True)
    gates = torch.randn(B, T, 2 * H, device="cuda", requires_grad=True)
    Lambda = torch.linspace(-6.9, -2.2, H, device="cuda", requires_grad=True)
    initial = torch.zeros(B, H, device="cuda")
    upstream = torch.randn(B, T, H, device="cuda")

    def ours() -> Tensor:
        return gated_scan(x, gates, Lambda, initial)[0]

    def published() -> Tensor:
        return gated_scan_published(x, gates, Lambda)

    def with_gradients(forward: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), (x, gates, Lambda), upstream)

    with torch.no_grad():
        difference = (ours() - published()).abs().max() / published().abs().max()
    size = B * T * H * 4
    limit = {"forward": _FORWARD * size / rate * 1e3, "both": (_FORWARD + _BACKWARD) * size / rate * 1e3}
    result: dict[str, Any] = {"shape": shape, "largest_difference": float(difference)}
    for name, function in (("forward", lambda run: run), ("both", with_gradients)):
        mine, reference = _median(function(ours)), _median(function(published))
        result[name] = {
            "ms": mine,
            "published_ms": reference,
            "limit_ms": limit[name],
            "over_limit": mine / limit[name],
            "speedup": reference / mine,
        }
    return result


def _median(function: Callable[[], object]) -> float:
    time: float = do_bench(function, warmup=10, rep=60, return_mode="median")
    return time


def main() -> int:
    """Run the command; return its exit code."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not torch.cuda.is_available():
        sys.stderr.write("error: this benchmark needs a CUDA device\n")
        return 2
    rate = copy_rate()
    results = []
    for shape in SHAPES:
        result = measure(shape, rate)
        results.append(result)
        for name in ("forward", "both"):
            part = result[name]
            print(
                f"{shape} {name:8} {part['ms']:.3f} ms, {part['over_limit']:.2f} x the byte limit, "
                f"{part['speedup']:.1f} x faster than the published method"
            )
    print(json.dumps({"device": torch.cuda.get_device_name(), "copy_bytes_per_second": rate, "scans": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
