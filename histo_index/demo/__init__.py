"""Synthetic histology tiles for the demo, the tests and the benchmarks."""
