"""What keeps the server safe: token, sessions, hosts, origins, limits, messages."""
