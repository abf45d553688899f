"""The commands about whole slides."""
