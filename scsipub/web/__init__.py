"""The web process: HTTP API and pages."""
