"""Distillation: an encoder learns what another network, the teacher, knows of the same tiles."""
