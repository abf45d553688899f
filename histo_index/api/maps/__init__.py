"""The map of an index, from Python."""
