"""Where iscsi, scsi and storage meet."""
