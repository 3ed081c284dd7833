"""scsipub: an iSCSI target for the public internet.  Start reading at docs/tour.md."""

__version__ = "0.1.0"
