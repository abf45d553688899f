"""What class is a tile: a vote of its labelled neighbours, calibrated on held-out groups."""
