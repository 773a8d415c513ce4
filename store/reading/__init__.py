"""Sessions read back from the database, for screens and commands."""
