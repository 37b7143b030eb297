"""The load generator: workloads, an HTTP client, open and closed loops, samples."""
