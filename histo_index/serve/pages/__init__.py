"""The pages, written on the server; they work without JavaScript."""
