"""What a build reads: sources, manifests, file contents."""
