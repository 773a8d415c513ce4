"""What is asked of the models: the bundled prompts, the files of users, and the order they are run in."""

from prompts.chat import Message
from prompts.errors import PromptError
from prompts.lines import Prompt
from prompts.loader import BUNDLED_TASKS, bundled, interleave, load, problems, select

__all__ = [
    "BUNDLED_TASKS",
    "Message",
    "Prompt",
    "PromptError",
    "bundled",
    "interleave",
    "load",
    "problems",
    "select",
]
