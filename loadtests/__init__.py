"""Load tests and benchmarks; every run starts the servers that it measures."""
