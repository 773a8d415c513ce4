"""One session written to files that other programs read."""
