"""Nearest-neighbour search over vectors: exact, and by an ANN index."""
