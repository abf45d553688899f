"""The map of an index: a place on a plane for each tile, near those that look alike."""
