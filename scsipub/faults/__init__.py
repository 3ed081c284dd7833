"""Trouble on demand, for whoever tests an initiator, a target, or us."""
