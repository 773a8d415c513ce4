"""The exception that `prompts` raises for faults its user can put right."""


class PromptError(Exception):
    """A fault of a prompt file or a selection of prompts, in one line to be shown as it is."""
