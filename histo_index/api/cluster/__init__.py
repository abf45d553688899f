"""Builds by several processes, sharded search and plans, from Python."""
