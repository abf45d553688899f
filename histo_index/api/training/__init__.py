"""What `train` reads beside its tiles."""
