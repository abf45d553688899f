"""Features that other programs computed: read, match with slides, and write."""
