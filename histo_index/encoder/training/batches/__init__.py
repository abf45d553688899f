"""What the batches of a run are made of: which tiles, in which order, in which colours."""
