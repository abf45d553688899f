"""The scale of an index, its encoder and its queries, compared."""
