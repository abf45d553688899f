"""The Python API: wire encoder, indexer, search and report together, and return values."""
