"""Causal convolution and SiLU: a reference, and CPU kernels."""
