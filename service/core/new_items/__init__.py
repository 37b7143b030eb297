"""New items: those that a model has not been trained with."""
