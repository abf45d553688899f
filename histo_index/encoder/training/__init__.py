"""BYOL: turn unlabelled tiles into an encoder for such tiles."""
