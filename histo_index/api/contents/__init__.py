"""What an open index holds: tiles, arrays, tables, surveys."""
