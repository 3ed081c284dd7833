"""The control process: accepts, places, supervises."""
