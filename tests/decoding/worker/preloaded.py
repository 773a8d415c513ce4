"""All that a worker imports, for the server that test workers are forked from."""

from spectui.decoding.imports import all_lasting

with all_lasting():
    import tests.models  # noqa: F401
