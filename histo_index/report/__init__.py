"""Show answers as one HTML page that opens anywhere: no network, no script, pictures inside."""
