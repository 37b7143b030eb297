"""New items: vectors of items that a model has not been trained with."""
