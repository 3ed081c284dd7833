"""Connect: the client's end, for initiators that speak no TLS."""
