"""Upkeep of a database: backup, check, repair, pruning and space."""
