"""The database's tables, the check of them, and the steps from older versions."""
