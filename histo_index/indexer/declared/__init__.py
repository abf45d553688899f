"""Build an index from embeddings that were computed elsewhere."""
