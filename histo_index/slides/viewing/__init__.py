"""Slides for people to look at: squares of a pyramid, overviews, drawings."""
