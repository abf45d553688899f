"""What the server holds: the index it answers from, names of tiles, uploads, pictures."""
