"""Threshold and probability, fitted on the user's labelled pairs."""
