"""Draw values of tiles over a picture of their slide."""
