"""Training of a draft head for a target, from prompts to a checkpoint."""
