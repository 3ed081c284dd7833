"""Bases, overlays and bitmaps: files and nothing else."""
