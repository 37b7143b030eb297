"""Keys of scripts, and conversion of their replies."""
