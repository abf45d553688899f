"""Indexes from embeddings that another program computed."""
