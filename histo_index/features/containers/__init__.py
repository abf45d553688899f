"""Open the kinds of files that features lie in; whatever is in them, reading is safe."""
