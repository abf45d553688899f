"""Commands that import features of other programs and export an index."""
