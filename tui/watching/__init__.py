"""Watched servers in rows and words: what the screens, `--once` and the report of a watched session draw from."""
