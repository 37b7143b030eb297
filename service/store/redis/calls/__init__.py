"""Keys that few calls need."""
