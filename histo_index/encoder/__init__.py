"""Turn histology tiles into embeddings: decode, preprocess, run a ResNeXt trunk."""
