"""The worker process: serves connections on Trio."""
