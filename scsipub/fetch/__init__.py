"""Fetching images from the web: for the command line, and for the daemon in a program of its own."""
