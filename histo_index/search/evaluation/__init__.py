"""What an index reaches on labelled tiles, next to the baselines."""
