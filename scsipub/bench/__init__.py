"""An initiator of our own, for measuring any target."""
