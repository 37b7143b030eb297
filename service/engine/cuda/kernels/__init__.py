"""Triton kernels of the CUDA engine; only they import Triton."""
