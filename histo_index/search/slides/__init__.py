"""Compare slides by their tiles."""
