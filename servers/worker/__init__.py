"""The process of a run on a server."""
