"""The text that a model reads for a prompt: its conversation through the tokenizer's chat template.

Torch-free. Templates are the model's own code, rendered by transformers in a sandbox; whatever goes wrong in one
is a `DecodingError` in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spectui.decoding.errors import DecodingError
from spectui.prompts.chat import SYSTEM, USER, objects
from spectui.prompts.lines import Message

PromptInput = str | Sequence[Message]
"""One turn of a user, or a conversation."""

Tell = Callable[[str], None]
"""Called with a note on a change to a prompt that its user did not ask for."""

MERGED = (
    "the chat template takes no system prompt: it stands at the beginning of the first user's turn instead"
)
CHANGED = "the chat template leaves out or rewrites turns of users"
NO_TEMPLATE = (
    "the model has no chat template: the texts of a conversation follow each other, without their roles"
)


def template_of(tokenizer: Any) -> str:
    """The chat template in force; "" without one."""
    template = getattr(tokenizer, "chat_template", None) or ""
    if isinstance(template, dict):
        template = template.get("default") or next(iter(template.values()), "")
    return str(template)


def unused_switches(tokenizer: Any, switches: Mapping[str, Any]) -> list[str]:
    """Template arguments that the chat template never mentions, so that they change nothing."""
    template = template_of(tokenizer)
    return [name for name in switches if not re.search(rf"\b{re.escape(name)}\b", template)]


def render(tokenizer: Any, content: PromptInput, switches: Mapping[str, Any], tell: Tell) -> str:
    """The model's input, special tokens of the template as text. Needs a tokenizer with a template."""
    messages = [Message(USER, content)] if isinstance(content, str) else list(content)
    if "developer" not in template_of(tokenizer):
        messages = [Message(SYSTEM, m.content) if m.role == "developer" else m for m in messages]
    merged = _merged(messages)
    try:
        text = _applied(tokenizer, messages, switches)
    except DecodingError as refused:
        if merged is None:
            raise
        try:
            text = _applied(tokenizer, merged, switches)
        except DecodingError:
            raise refused from None
        tell(MERGED)
        return text
    # Some templates read the turns of users and assistants alone, and say nothing.
    if merged is not None and any(m.role == SYSTEM and m.content.strip() not in text for m in messages):
        text = _applied(tokenizer, merged, switches)
        tell(MERGED)
    if any(m.role in (USER, "tool") and m.content.strip() not in text for m in messages):
        tell(CHANGED)
    return text


def plain(content: PromptInput, tell: Tell) -> str:
    """The input of a model without a chat template."""
    if isinstance(content, str):
        return content
    tell(NO_TEMPLATE)
    return "\n\n".join(message.content for message in content if message.content)


def _merged(messages: Sequence[Message]) -> list[Message] | None:
    """The conversation with its system prompts in the first turn of a user; None where there are none."""
    system = [m.content for m in messages if m.role == SYSTEM and m.content.strip()]
    others = [m for m in messages if m.role != SYSTEM]
    first = next((i for i, m in enumerate(others) if m.role == USER), None)
    if not system or first is None:
        return None
    others[first] = Message(USER, "\n\n".join([*system, others[first].content]))
    return others


def _applied(tokenizer: Any, messages: Sequence[Message], switches: Mapping[str, Any]) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                objects(messages), tokenize=False, add_generation_prompt=True, **switches
            )
        )
    except MemoryError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if (
            type(error).__name__ == "TemplateSyntaxError"
        ):  # of jinja2, which transformers brings in when it is needed
            raise DecodingError(
                f"the model's chat template is no template: {why}; mend it or fetch it again"
            ) from error
        roles = ", ".join(message.role for message in messages[:8])
        more = ", ..." if len(messages) > 8 else ""
        raise DecodingError(
            f"the chat template refuses this prompt: {why} (its turns: {roles}{more}); change the prompt, or what "
            "--template-arg says"
        ) from error
