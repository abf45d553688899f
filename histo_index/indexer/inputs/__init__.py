"""What a build reads: folders, manifests, file contents."""
