"""The one exception that `store` raises for things its user can put right."""


class StoreError(Exception):
    """What is wrong with the database and what to do about it, in one line fit to be shown as it is."""
