"""Cut slides into tiles: grid, manifest, previews, GeoJSON, annotations."""
