"""Copies of tiles: candidates by plain distance, confirmed on pixels."""
