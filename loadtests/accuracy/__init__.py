"""Accuracy of trained models against references whose figures are known."""
