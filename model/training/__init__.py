"""Training jobs, from logged interactions to a published bundle."""
