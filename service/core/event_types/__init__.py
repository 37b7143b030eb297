"""Event types: their effects under a model, and the items they exclude."""
