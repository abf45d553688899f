"""Import features of other programs, verify their encoder, export an index."""
