"""Remove tiles from an index, restore them, compact, purge."""
