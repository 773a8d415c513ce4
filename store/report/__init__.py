"""The study's tables for a session: read once, counted per prompt, resampled on the counts.

`report.build_report` and `compare.compare_sessions` are the ways in. Importing them loads numpy and scipy,
so commands and screens do it when they are asked for a report, not before.
"""
