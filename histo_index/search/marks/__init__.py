"""Marks: what people say about pairs and tiles while they look."""
