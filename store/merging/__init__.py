"""Merging of shards: sessions that have a part of a run's prompts each become the one that has them all."""
