"""Plan, write and commit a generation of an index."""
