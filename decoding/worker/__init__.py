"""The child process that decodes a run's prompts, records them and obeys its controls."""
