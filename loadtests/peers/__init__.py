"""What people deploy for this today: the client sends the last items, the server runs the whole forward pass."""
