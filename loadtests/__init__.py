"""Load tests: generator, floors, peers and growth, each a measurement against servers that the run starts itself."""
