"""Heads that draft a whole block in one forward: DFlash."""
