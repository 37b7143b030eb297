"""Run programs under Triton's interpreter, which executes kernels on the CPU.

Triton decides between compiler and interpreter when it is imported, so every program gets a process of its own.
"""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any

import pytest

from tests.environment import run_python

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

_ENVIRONMENT = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}


def run_interpreted(program: str) -> subprocess.CompletedProcess[str]:
    """Run Python source with interpreted kernels.

    The caller checks return code and output.
    """
    prelude = "from tests.model.ops.interpreter import convert_scalars_by_item\nconvert_scalars_by_item()\n"
    return run_python("-c", prelude + program, environment=_ENVIRONMENT)


def convert_scalars_by_item() -> None:
    """Make `range(scalar argument)` work with NumPy 2.5 before Triton 3.7.

    The interpreter holds scalars as arrays of one element and converted them with `int(array)`, which NumPy 2.5
    refuses.
    """
    from triton.runtime import interpreter

    patch: Any = interpreter._patch_lang_tensor

    def patch_lang_tensor(tensor: Any, *scope: Any) -> None:
        patch(tensor, *scope)
        set_attribute = scope[0].set_attr if scope else setattr
        set_attribute(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_lang_tensor
