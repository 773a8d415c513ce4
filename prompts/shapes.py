"""Prompts out of records: public data sets, requests to servers and our own lines, known by their keys.

docs/how-to/prompts.md lists them for users. Nothing of a prompt is dropped in silence: what is left out is a note.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectui.prompts.chat import (
    ANSWERS,
    SYSTEM,
    USER,
    check_characters,
    content_of,
    is_message,
    messages_of,
    readable,
    without_answers,
)
from spectui.prompts.lines import DEFAULT_TASK, Fields, Message, id_of, quoted, task_like, task_of, text_of

FURTHER_TURNS = "the turns after the first were left out, as they answer what the model says"
SETTINGS = "settings of requests (model, max_tokens, temperature) were left out: the run has its own"
UNRESOLVED = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
"""Stands in SPEED-Bench as it is published where the text of another data set belongs."""
COMPLETION = "requests for completions are asked as a user's turn, through the chat template"

TEXT_KEYS = (
    "prompt",
    "question",
    "problem",
    "instruction",
    "query",
    "input",
    "text",
    "content",
    "user",
    "human",
)
"""Keys of a prompt's text, the surest first."""
CONVERSATION_KEYS = (
    "messages", "conversations", "conversation", "conversation_input", "dialog", "dialogue", "chat", "contents",
    "items",
)  # fmt: skip
TURNS = "turns"
TEXT_NAMES = frozenset(TEXT_KEYS)
PROMPT_KEYS = frozenset((*TEXT_KEYS, *CONVERSATION_KEYS, TURNS))
"""Keys, as `plain_key` writes them, by one of which a record is known to be a prompt."""
OURS = frozenset(("id", "task", "prompt"))
SYSTEM_KEYS = ("system", "system_prompt", "system_message", "system_instruction", "systeminstruction")
BESIDE = ("context", "passage")
"""Keys of the text that a question is about: it goes below the question."""
CHOICES = ("choices", "options")
ID_KEYS = (
    "id", "prompt_id", "question_id", "custom_id", "task_id", "conversation_id", "unique_id", "recordid", "uuid", "key",
)  # fmt: skip
TASK_KEYS = ("task", "category", "subject", "task_type")
WRAPPERS = ("body", "params", "request", "modelinput")
"""Keys of a request to a server within a line of a batch."""
CONTAINERS = (
    "prompts", "data", "rows", "examples", "questions", "instructions", "instances", "samples", "requests", "records",
    "items", "train", "test", "validation",
)  # fmt: skip
"""Keys of a list of prompts within one object."""


@dataclass
class RawPrompt:
    """A prompt as a record has it."""

    messages: list[Message]
    id: str | None = None
    task: str | None = None
    notes: tuple[str, ...] = ()
    id_is_unique: bool = True
    """True when its id has to be the only one of that name; ids of others' data are numbered anew where they repeat."""

    def fields(self, task: str | None) -> Fields:
        """The fields of the prompt, under `task` where one is given."""
        text = readable(self.messages)
        plain = len(self.messages) == 1 and self.messages[0].role == USER
        return Fields(
            self.id, task or self.task or DEFAULT_TASK, text, None if plain else tuple(self.messages)
        )


def plain_key(key: str) -> str:
    """A key or the name of a column without its case and blanks."""
    return key.strip().lower().replace(" ", "_").replace("-", "_")


def contained_records(value: Any) -> list[Any] | None:
    """The records of an object that holds a list of them, such as ``{"data": [...]}``; None for any other."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return None if any(map(is_message, value)) else value
    if not isinstance(value, dict):
        return None
    keys = {plain_key(key): key for key in value}
    if keys.keys() & (PROMPT_KEYS - {"items"}):
        return _rows_of_columns(value) if keys.keys() & TEXT_NAMES else None
    held: list[Any] = []
    for name, key in keys.items():
        items = value[key] if name in CONTAINERS else None
        kinds = (dict, str) if name in ("prompts", "questions", "instructions") else (dict,)
        if isinstance(items, list) and items and isinstance(items[0], kinds) and not is_message(items[0]):
            held += items  # of several, such as the parts of a data set, all
    if held:
        return held
    # One record under each id, as pandas writes them with orient="index".
    parts = list(value.values())
    named = all(isinstance(part, dict) for part in parts)
    if named and parts and not any(key in WRAPPERS or key == "row" for key in keys):
        return parts if any(plain_key(key) in PROMPT_KEYS for key in parts[0]) else None
    return None


def _rows_of_columns(value: dict[str, Any]) -> list[Any] | None:
    """The rows of an object that holds a list for each column, or an object of row names; None for any other."""
    columns = list(value.values())
    if all(isinstance(column, dict) for column in columns):
        names = list(columns[0])
        if len(names) > 1 and all(list(column) == names for column in columns):
            return [{key: column[name] for key, column in value.items()} for name in names]
    if all(isinstance(column, list) for column in columns):
        length = len(columns[0])
        text = next(column for key, column in value.items() if plain_key(key) in TEXT_NAMES)
        strings = all(isinstance(part, str) for part in text)
        if strings and length > 1 and all(len(column) == length for column in columns):
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def read_prompt(value: Any) -> RawPrompt:
    """The prompt in a record. Raises `ValueError` with the reason that there is none."""
    if isinstance(value, str):
        return RawPrompt([Message(USER, text_of(value, "prompt"))])
    if isinstance(value, list) and value and all(map(is_message, value)):
        messages, cut = without_answers(messages_of(value, "messages"), "messages")
        return RawPrompt(messages, notes=(ANSWERS,) if cut else ())
    if not isinstance(value, dict):
        raise ValueError('not an object; give {"task": ..., "prompt": ...}')
    if value.keys() <= OURS and "prompt" in value and isinstance(value.get("task"), str):
        # A line of our own, at a fifth of the time.
        message = Message(USER, text_of(value["prompt"], "prompt"))
        return RawPrompt([message], _id(value), task_of(value["task"]))
    data: dict[str, Any] = {}
    for key, part in value.items():
        data.setdefault(plain_key(key), part)
    if isinstance(data.get("row"), dict):
        return read_prompt(data["row"])
    if is_message(value) and not data.keys() & {"prompt", "messages"}:
        messages, cut = without_answers(messages_of([value], "message"), "message")
        return RawPrompt(messages)
    inner = next((data[key] for key in WRAPPERS if isinstance(data.get(key), dict)), None)
    raw = _prompt(data) if inner is None else _request(data, inner)
    raw.id, raw.task, raw.id_is_unique = _id(data), _task(data), data.get("task") is not None
    return raw


def _request(data: Mapping[str, Any], inner: Mapping[str, Any]) -> RawPrompt:
    body = {plain_key(key): part for key, part in inner.items()}
    if str(data.get("url", "")).rstrip("/").endswith(("embeddings", "moderations")):
        raise ValueError("a request for something else than text; leave it out")
    raw = _prompt(body)
    if body.keys() - PROMPT_KEYS - set(SYSTEM_KEYS) - {"instructions", "tools"}:
        raw.notes += (SETTINGS,)
    if isinstance(body.get("prompt"), str) and data.get("url"):
        raw.notes += (COMPLETION,)
    return raw


def _prompt(data: Mapping[str, Any]) -> RawPrompt:
    for key in ("tools", "functions"):
        if _parsed(data.get(key)):
            raise ValueError(f"it has '{key}', which spectui does not hand to the model; take them out")
    messages, notes = _turns(data)
    check_resolved(messages)
    messages = [*_system(data, messages), *_history(data), *messages]
    name = next((key for key in CONVERSATION_KEYS if key in data), "prompt")
    messages, cut = without_answers(messages, name)
    return RawPrompt(messages, notes=(*notes, *((ANSWERS,) if cut else ())))


def _turns(data: Mapping[str, Any]) -> tuple[list[Message], tuple[str, ...]]:
    """The turns of a record in any of their forms, and notes on what was left out."""
    for name in CONVERSATION_KEYS:
        value = _parsed(data.get(name))
        if isinstance(value, list) or (name == "messages" and value is not None):
            return _questions_alone(data, messages_of(value, name))
    if TURNS in data:
        return _first_turn(_parsed(data[TURNS]), TURNS)
    key = next((key for key in TEXT_KEYS if _filled(data.get(key))), None)
    if key is None:
        strings = data.get("data")
        if isinstance(strings, list) and strings and all(isinstance(text, str) for text in strings):
            return messages_of(strings, "data"), ()
        chosen = data.get("chosen")
        if isinstance(chosen, list) and chosen and all(map(is_message, chosen)):
            return messages_of(chosen, "chosen"), ()
        raise ValueError(_explain_no_prompt(data))
    value = data[key]
    if isinstance(value, list) and value:
        if key == "input" and not isinstance(value[0], str) and not is_message(value[0]):
            return [Message(USER, text_of(content_of(value, "'input'"), "input"))], ()
        return _first_turn(value, key)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        value = value["text"]
    parts = [text_of(value, key)]
    if key == "instruction":
        parts += _further(data, "input")
    if key != "prompt":  # which is all that is to be asked
        parts += [text for beside in BESIDE for text in _further(data, beside)]
        parts += _choices(data)
    return [Message(USER, "\n\n".join(parts))], ()


def _questions_alone(
    data: Mapping[str, Any], messages: list[Message]
) -> tuple[list[Message], tuple[str, ...]]:
    """A conversation as it is; of the questions of a benchmark that stand as messages, as in SPEED-Bench, the first."""
    several = len(messages) > 1 and all(message.role == USER for message in messages)
    if several and {"question_id", "category"} <= data.keys():
        return messages[:1], (FURTHER_TURNS,)
    return messages, ()


def check_resolved(messages: list[Message]) -> None:
    """Raise `ValueError` for a prompt of SPEED-Bench whose text is not in the file."""
    if any(message.content.startswith(UNRESOLVED) for message in messages):
        raise ValueError(
            "SPEED-Bench does not publish this text; its prepare_data.py fetches it from the source"
        )


def _first_turn(value: Any, key: str) -> tuple[list[Message], tuple[str, ...]]:
    """A conversation, or the first of several turns of a user alone."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"'{key}' is not a list of texts")
    if all(map(is_message, value)):
        return messages_of(value, key), ()
    first = value[0]
    if isinstance(first, dict):
        first = next((first[name] for name in ("content", "text", "value") if name in first), None)
    return [Message(USER, text_of(first, key))], (FURTHER_TURNS,) if len(value) > 1 else ()


def _system(data: Mapping[str, Any], turns: list[Message]) -> list[Message]:
    keys = (*SYSTEM_KEYS, *(("instructions",) if "input" in data else ()))
    for key in keys:
        value = data.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        text = content_of(value, f"'{key}'")
        check_characters(text, f"'{key}'")
        return [] if turns and turns[0] == Message(SYSTEM, text) else [Message(SYSTEM, text)]
    return []


def _history(data: Mapping[str, Any]) -> list[Message]:
    history = _parsed(data.get("history"))
    return messages_of(history, "history") if isinstance(history, list) and history else []


def _further(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    return [text_of(value, key)]


def _choices(data: Mapping[str, Any]) -> list[str]:
    """The answers to choose from, lettered, a line each."""
    for key in CHOICES:
        value = _parsed(data.get(key))
        letters: list[Any] = []
        if isinstance(value, dict) and isinstance(value.get("text"), list):
            labels = value.get("label")
            letters, value = labels if isinstance(labels, list) else [], value["text"]
        elif isinstance(value, dict) and value:
            letters, value = list(value), list(value.values())
        if isinstance(value, list) and value:
            texts = [text_of(text, key) for text in value[:26]]
            letters = letters if len(letters) == len(texts) else [chr(65 + i) for i in range(len(texts))]
            return ["\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True))]
    if all(isinstance(data.get(letter), str) and data[letter].strip() for letter in "abcd"):
        return ["\n".join(f"{letter.upper()}. {text_of(data[letter], letter)}" for letter in "abcd")]
    return []


def _filled(value: object) -> bool:
    return value is not None and value != "" and value != []


def _explain_no_prompt(data: Mapping[str, Any]) -> str:
    empty = next((key for key in TEXT_KEYS if key in data), None)
    if empty is not None:
        text_of(data[empty], empty)
    keys = ", ".join(quoted(key) for key in list(data)[:6]) or "none"
    return f"'prompt' is missing; its keys are {keys}" + (" and more" if len(data) > 6 else "")


def _parsed(value: Any) -> Any:
    """A value that a table holds as JSON; any other as it is. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    if value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"{quoted(value)} is not JSON, as a list in a table has to be") from None


def _id(data: Mapping[str, Any]) -> str | None:
    """The record's id; None where it is not a valid one and the record is not spectui's own."""
    if data.get("task") is not None and data.get("id") is not None:
        return id_of(data["id"])
    for key in ID_KEYS:
        if data.get(key) is not None:
            try:
                return id_of(data[key])
            except ValueError:
                continue
    return None


def _task(data: Mapping[str, Any]) -> str | None:
    """The record's task: our own as it stands, of others' data the name nearest to its category."""
    if data.get("task") is not None and data.keys() & {"prompt", "messages"}:
        return task_of(data["task"])
    for key in TASK_KEYS:
        if task := task_like(data.get(key)):
            return task
    if "entry_point" in data or "test_list" in data:  # HumanEval, MBPP
        return "code"
    if "problem" in data and "solution" in data:  # MATH
        return task_like(data.get("type")) or "math"
    if "#### " in str(data.get("answer", ""))[-200:]:  # GSM8K
        return "math"
    return None
