"""The writer of a run: its session, its rounds as rows, its baselines."""
