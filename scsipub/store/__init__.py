"""What must outlive the daemon: tenants, tokens, tiers, rented targets, their secrets and reservations.

Only control writes it.  Nothing on the data path waits for it.  docs/store.md says how it is used."""
