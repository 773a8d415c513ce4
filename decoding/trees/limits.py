"""The largest trees that are accepted anywhere. Imports nothing, so that a configuration starts without numpy."""

MAX_DEPTH = 32
MAX_BRANCHING = 32
MAX_NODES = 512
