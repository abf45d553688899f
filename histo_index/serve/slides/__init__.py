"""Slides in the browser: their pixels, and values of their tiles."""
