"""Watched servers: all of them, and one."""
