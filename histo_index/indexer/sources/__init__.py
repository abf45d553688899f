"""The sources that an index remembers: chosen, listed and joined."""
