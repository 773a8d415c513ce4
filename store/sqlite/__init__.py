"""Connections to SQLite: transactions, locks, logs and file systems."""
