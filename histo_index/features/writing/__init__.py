"""Write an index in the layouts of other programs."""
