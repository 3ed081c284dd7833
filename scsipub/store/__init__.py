"""The metadata store."""
