"""Whole slides, from Python. The command line calls this too."""
