"""The EAGLE-3 head: its checkpoint and its layers."""
