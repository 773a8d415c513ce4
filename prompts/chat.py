"""Conversations: messages with roles, read from the forms that files have them in, and as readable text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spectui.prompts.lines import Message, quoted, text_of

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

ROLES = {
    **dict.fromkeys((USER, "human", "prompter", "question", "customer"), USER),
    **dict.fromkeys((ASSISTANT, "gpt", "bot", "model", "ai", "chatgpt", "chatbot", "bard", "bing"), ASSISTANT),
    **dict.fromkeys((SYSTEM, "system_prompt", "system_message"), SYSTEM),
    **{name: name for name in ("developer", "tool")},
    "observation": "tool",
}  # fmt: skip
"""Name of a role in files -> its name in chat templates."""

ANSWERS = "the answers at the end of conversations were left out: they are what the model is asked for"


def is_message(value: object) -> bool:
    """True when an object of a file is one message of a conversation."""
    if not isinstance(value, dict):
        return False
    keys = {key.lower() for key in value if isinstance(key, str)}
    if "role" in keys:
        return bool(keys & {"content", "parts", "text", "tool_calls"})
    return "from" in keys and bool(keys & {"value", "content"})


def messages_of(items: object, name: str) -> list[Message]:
    """The messages of a list: of objects, or of texts by turns of user and assistant.

    Raises `ValueError` with the reason, calling the list `name`.
    """
    if not isinstance(items, list):
        raise ValueError(f"'{name}' is not a list of messages")
    if not items:
        raise ValueError(f"'{name}' has no message")
    messages: list[Message] = []
    for number, item in enumerate(items, 1):
        where = f"message {number} of '{name}'"
        if isinstance(item, str):
            messages.append(Message((USER, ASSISTANT)[(number - 1) % 2], item))
        elif isinstance(item, list) and len(item) == 2:  # a pair of question and answer
            messages += [
                Message(role, content_of(text, where))
                for role, text in zip((USER, ASSISTANT), item, strict=True)
            ]
        elif isinstance(item, dict):
            messages += _messages(item, where)
        else:
            raise ValueError(f'{where} is not an object; give {{"role": ..., "content": ...}}')
    for message in messages:
        if message.content:
            check_characters(message.content, f"a message of '{name}'")
    return messages


def _messages(item: Mapping[str, Any], where: str) -> list[Message]:
    data = {key.lower(): value for key, value in item.items()}
    for key in ("tool_calls", "function_call"):
        if data.get(key):
            raise ValueError(
                f"{where} calls a tool, and spectui renders text alone; leave such conversations out"
            )
    role = data.get("role", data.get("from"))
    if role is None:
        pairs = (("input", "output"), ("human", "assistant"), ("user", "assistant"), ("question", "answer"))
        for asked, answered in pairs:
            if asked in data:
                answer = [Message(ASSISTANT, content_of(data[answered], where))] if data.get(answered) else []
                return [Message(USER, content_of(data[asked], where)), *answer]
        if data.keys() & {"content", "value", "text"}:
            role = USER
    if not isinstance(role, str):
        raise ValueError(f"{where} has no role; give one of user, assistant and system")
    known = ROLES.get(role.strip().lower())
    if known is None:
        raise ValueError(
            f"{where} has the role {quoted(role)}; roles are user, assistant, system, developer and tool"
        )
    for key in ("content", "value", "parts", "text", "message"):
        if data.get(key) is not None:
            return [Message(known, content_of(data[key], where))]
    raise ValueError(f"{where} has no text")


def content_of(value: object, where: str) -> str:
    """The text of a message: a string, or the texts of its parts, a line each. Raises `ValueError`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("parts"), list):
        value = value["parts"]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"{where} is not a string")
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            what = f"a part of type {quoted(kind)}" if isinstance(kind, str) else "a part without text"
            raise ValueError(f"{where} holds {what}, and models here read text alone; leave it out")
        texts.append(text)
    return "\n".join(texts)


def check_characters(text: str, where: str) -> None:
    """Raise `ValueError` where a text holds half a character."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"{where} holds half of a surrogate pair, which is not a character") from None


def without_answers(messages: Sequence[Message], name: str) -> tuple[list[Message], bool]:
    """The conversation without the answers at its end, and True if there were any. Raises `ValueError`."""
    end = len(messages)
    while end and messages[end - 1].role == ASSISTANT:
        end -= 1
    kept = list(messages[:end])
    last = next((m for m in reversed(kept) if m.role in (USER, "tool")), None)
    if last is None:
        raise ValueError(f"'{name}' has no turn of a user")
    text_of(last.content, f"{name}: the last turn")
    return kept, end < len(messages)


def readable(messages: Iterable[Message]) -> str:
    """A conversation as text for people: the one turn of a user as it stands, else each with its role before it."""
    turns = list(messages)
    if len(turns) == 1 and turns[0].role == USER:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def objects(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as chat templates and files take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def to_json(messages: Iterable[Message]) -> str:
    """A conversation as the store keeps it."""
    return json.dumps(objects(messages), ensure_ascii=True)


def from_json(text: str) -> tuple[Message, ...]:
    """The inverse of `to_json`. Raises `ValueError` for anything else."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return tuple(messages_of(data, "messages"))
