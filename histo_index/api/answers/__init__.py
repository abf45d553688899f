"""Answers without an index, and pictures of answers."""
