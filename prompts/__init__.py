"""What is asked of the models: the bundled prompts, the files of users, and the order they are run in."""

from spectui.prompts.chat import Message
from spectui.prompts.errors import PromptError
from spectui.prompts.lines import Prompt
from spectui.prompts.loader import BUNDLED_TASKS, bundled, interleave, load, problems, select

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
