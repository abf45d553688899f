"""Carry out the shard tasks of a build by several processes."""
