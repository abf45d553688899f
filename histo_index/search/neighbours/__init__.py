"""Nearest neighbours of tiles, filtered."""
