"""From embeddings to the vectors that are compared."""
