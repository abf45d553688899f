"""The map of the index, as clients see it: points without names, colours, areas."""
