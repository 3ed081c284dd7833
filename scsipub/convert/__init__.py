"""Converting what strangers call a disk image: a program of its own that can do nothing else."""
