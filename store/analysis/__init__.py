"""The study's tables for a session: read once, counted per prompt, resampled on the counts.

`report.build_report` and `compare.compare_sessions` are the ways in. Importing them loads numpy,
and working a report out scipy: commands and screens do either when they are asked for a report, not before.
"""
