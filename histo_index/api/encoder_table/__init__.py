"""Compare encoders, and look into their folders."""
