"""Search an index in parts, one a process."""
