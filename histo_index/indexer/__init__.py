"""The index on disk: sources, Parquet shards, derived search files, build and open."""
