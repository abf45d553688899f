"""What an evaluation needs from the encoder: the vectors of the baselines, and their cache."""
