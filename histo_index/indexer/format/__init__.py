"""The files of an index and how they are written and checked."""
