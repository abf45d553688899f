"""The commands of `histo-index encoder`."""
