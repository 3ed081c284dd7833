"""SCSI commands and logical units: pure, no files, no sockets."""
