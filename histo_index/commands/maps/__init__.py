"""The command that makes the map of an index."""
