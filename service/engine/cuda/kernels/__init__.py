"""Triton kernels of the engine on a GPU. Only this room imports Triton."""
