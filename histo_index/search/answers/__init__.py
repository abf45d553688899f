"""The answers to a user's questions."""
