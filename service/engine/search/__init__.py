"""Search of the embedding table: exact, or through an IVF-PQ index."""
