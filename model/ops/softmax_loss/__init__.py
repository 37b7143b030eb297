"""Softmax cross-entropy over the catalogue, full and with sampled negatives."""
