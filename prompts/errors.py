"""The one exception that `prompts` raises for things its user can put right."""


class PromptError(Exception):
    """What is wrong with a prompt file or a selection of prompts, in one line fit to be shown as it is."""
