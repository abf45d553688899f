"""What a question names: tiles, pair lists, labels."""
