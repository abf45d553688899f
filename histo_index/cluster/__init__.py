"""Builds and searches by several processes, here or on other machines."""
