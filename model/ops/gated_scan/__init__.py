"""Gated scan (BD-LRU): a reference in PyTorch, Triton kernels and CPU kernels."""
