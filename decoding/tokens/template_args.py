"""Variables for the chat template, such as ``enable_thinking=false``: read, checked, and kept with a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from spectui.decoding.errors import UsageError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
RESERVED = frozenset(
    (
        "self", "conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
        "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "kwargs",
    )
)  # fmt: skip
"""Names that `apply_chat_template` and every template use for something else."""
MOST_BYTES = 1 << 16
"""Most bytes of all switches of a run together, as JSON."""

PYTHON = {"True": True, "False": False, "None": None}
ADVICE = "give NAME=VALUE, as --template-arg enable_thinking=false"


def read_switches(texts: Iterable[str]) -> dict[str, Any]:
    """Names and values of ``NAME=VALUE`` texts: a value is JSON where it reads as such, else the text itself.

    True, False and None are what Python, and many a model card, calls JSON's true, false and null: a template would
    take the text "False" for true. Raises `UsageError`.
    """
    switches: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"--template-arg {_quoted(text)} has no =; {ADVICE}")
        if name in switches:
            raise UsageError(f"--template-arg {_quoted(name)} is given twice")
        switches[name] = _value(value)
    check_switches(switches)
    return switches


def check_switches(switches: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a name is none that a template could read, or a value none that can be kept."""
    for name in switches:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UsageError(f"--template-arg {_quoted(str(name))} is no name of a variable; {ADVICE}")
        if name in RESERVED:
            raise UsageError(
                f"--template-arg {name} is not for you to set: it is what the template is rendered with"
            )
    try:
        size = len(json.dumps(dict(switches), allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        raise UsageError(
            "--template-arg has a value that is no JSON, or no text in UTF-8; write it again"
        ) from None
    if size > MOST_BYTES:
        raise UsageError(f"--template-arg takes at most {MOST_BYTES >> 10} KiB, of all together")


def _value(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)  # NaN and the like are texts

    if text in PYTHON:
        return PYTHON[text]
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")
