"""Data for the screens, read from the database in the background."""
