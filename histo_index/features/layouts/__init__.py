"""The layouts in which other programs write features."""
