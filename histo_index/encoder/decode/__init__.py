"""From an image file to the pixels that the network takes."""
