"""Training of an EAGLE-3 head for a target, from prompts to a checkpoint."""
