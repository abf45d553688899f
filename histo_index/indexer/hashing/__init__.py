"""Hash tile files and slides, remember their states, and compare them with an index."""
