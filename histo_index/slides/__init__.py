"""Whole slides: from slide files to tiles of a known scale."""
