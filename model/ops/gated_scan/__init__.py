"""Gated scan (BD-LRU): a reference in PyTorch, and Triton kernels."""
