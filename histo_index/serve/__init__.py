"""The web server: REST and pages over one index."""
