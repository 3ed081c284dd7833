"""What programs ask over HTTP, as control answers it: who asks, what they may, and whose it is.

The web process passes on a token with each call and decides nothing.  ``door`` lets in, the others do."""
