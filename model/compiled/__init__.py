"""Compiled functions: numba with a guarded cache, and elementary functions in float32."""
