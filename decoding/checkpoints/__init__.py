"""Checkpoints on disk and from the hub: their place, their files and their formats."""
