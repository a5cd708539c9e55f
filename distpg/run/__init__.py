"""A run: its directory, checkpoints, set-up, execution and end-of-run summary."""
