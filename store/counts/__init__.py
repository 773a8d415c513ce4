"""Rounds counted per prompt, and the metrics and intervals made of the counts."""
