"""Benchmark of the gated scan on a GPU.

    python -m model.ops.gated_scan.scan_benchmark

Compares the kernels with the published code's method, with flash-linear-attention's HGRN if that is installed (`pip
install fla-core`), and with the device's copy rate. Prints a line per shape, and JSON as the last line.

Times are medians in milliseconds of the device's work, replayed as a CUDA graph. `call_ms` is a call from Python,
which is longer if the host needs longer to launch the kernels than the device to run them. The byte limit is the time
to read each input and write each output once, at the copy rate of the same run. Forward, that is 4 numbers per step
and channel (x, two gates, h). Backward, it is 8 (dh, x, two gates, h; dx, two dgates). HGRN's recurrence h = exp(g) h
+ x gets its decay and input ready-made: it computes no gates, reads one number fewer, and writes one gradient fewer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench

from model.ops.gated_scan.dispatch import gated_scan
from model.ops.gated_scan.published_baseline import gated_scan_published

# Shapes (B, T, H) of the performance targets, and of a training step.
SHAPES = ((2048, 200, 128), (64, 8192, 128), (184, 200, 128))
_FORWARD, _BACKWARD = 4, 8

Forward = Callable[[], Tensor]


def copy_rate() -> float:
    """Return bytes per second, read and written, of a large copy."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / (_median(lambda: target.copy_(source)) / 1e3)


def measure(shape: tuple[int, int, int], rate: float) -> dict[str, Any]:
    """Measure all implementations at one shape in float32."""
    B, T, H = shape
    x = torch.randn(B, T, H, device="cuda", requires_grad=True)
    gates = torch.randn(B, T, 2 * H, device="cuda", requires_grad=True)
    Lambda = torch.linspace(-6.9, -2.2, H, device="cuda", requires_grad=True)
    initial = torch.zeros(B, H, device="cuda")
    upstream = torch.randn(B, T, H, device="cuda")
    log_decay = (-torch.rand(B, T, H, device="cuda")).requires_grad_()
    hgrn = _hgrn()

    def ours() -> Tensor:
        return gated_scan(x, gates, Lambda, initial)[0]

    def published() -> Tensor:
        return gated_scan_published(x, gates, Lambda)

    def with_gradients(forward: Forward, *inputs: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), inputs, upstream)

    with torch.no_grad():
        difference = (ours() - published()).abs().max() / published().abs().max()
    size = B * T * H * 4
    limit = {"forward": _FORWARD * size / rate * 1e3, "both": (_FORWARD + _BACKWARD) * size / rate * 1e3}
    result: dict[str, Any] = {"shape": shape, "largest_difference": float(difference)}
    ways: dict[str, tuple[Forward, tuple[Tensor, ...]]] = {
        "": (ours, (x, gates, Lambda)),
        "published_": (published, (x, gates, Lambda)),
    }
    if hgrn is not None:
        ways["hgrn_"] = partial(hgrn, x, log_decay), (x, log_decay)
    for name in ("forward", "both"):
        part = result[name] = {"limit_ms": limit[name]}
        for prefix, (forward, inputs) in ways.items():
            call = no_gradients(forward) if name == "forward" else with_gradients(forward, *inputs)
            part[f"{prefix}ms"], part[f"{prefix}call_ms"] = _median(_captured(call)), _median(call)
            part[f"{prefix}over_limit"] = part[f"{prefix}ms"] / limit[name]
        part["speedup"] = part["published_ms"] / part["ms"]
    return result


def no_gradients(forward: Forward) -> Callable[[], object]:
    """Return `forward` without recording for autograd."""

    def call() -> object:
        with torch.no_grad():
            return forward()

    return call


def _hgrn() -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return flash-linear-attention's recurrence, or None without the package."""
    try:
        from fla.ops.hgrn import chunk_hgrn  # type: ignore[import-not-found]
    except ImportError:
        return None
    return lambda x, log_decay: chunk_hgrn(x, log_decay)[0]


def _captured(function: Callable[[], object]) -> Callable[[], None]:
    """Return the replay of a CUDA graph of `function`."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # kernels must be compiled before the capture
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


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
                f"{part['call_ms']:.3f} ms by a call from Python, "
                f"{part['speedup']:.1f} x faster than the published method"
                + (f", HGRN {part['hgrn_ms']:.3f} ms" if "hgrn_ms" in part else "")
            )
    print(json.dumps({"device": torch.cuda.get_device_name(), "copy_bytes_per_second": rate, "scans": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
