"""What a number of tiles takes."""
