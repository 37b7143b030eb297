"""Connection to the configured deployment."""
