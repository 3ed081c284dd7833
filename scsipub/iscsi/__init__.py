"""The iSCSI protocol, sans-IO: bytes and time in, events and bytes out."""
