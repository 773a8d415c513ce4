"""The live screen of a run, and its replay."""
