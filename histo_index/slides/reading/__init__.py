"""Open slides and read regions of them at a given scale."""
