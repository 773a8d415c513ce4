"""Checks of ``generation_config.json``, and the end tokens that it names.

Torch-free; what its settings do is `decoding.models.generation_settings`'.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError

NAME = "generation_config.json"
_MEND = f"mend or delete {NAME}"


def check_generation_file(name: str, folder: Path) -> None:
    """Raise `DecodingError` in one line where the file in `folder` cannot be read; a folder may have none.

    transformers passes over a file that is no JSON, and decodes without what it asked for.
    """
    try:
        data: Any = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise DecodingError(f"model '{name}' has a {NAME} that cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DecodingError(f"model '{name}' has a {NAME} that is not JSON: {error}; {_MEND}") from error
    if not isinstance(data, dict):
        raise DecodingError(f"model '{name}' has a {NAME} that is no JSON object; {_MEND}")
    end_tokens(name, data.get("eos_token_id"))


def explain_refusal(folder: Path) -> str | None:
    """The reason for which transformers refuses the file in `folder`; None where it accepts it."""
    from transformers import GenerationConfig

    if not (folder / NAME).is_file():
        return None
    try:
        GenerationConfig.from_pretrained(folder).validate()
    except Exception as error:  # its classes are handed whatever the file holds
        return f"its {NAME} cannot be used: {' '.join(str(error).split())[:200]}; {_MEND}"
    return None


def end_tokens(name: str, value: Any) -> list[int]:
    """The ids of an ``eos_token_id``, read as `generate` reads it: lists of any depth, numbers cut to whole ones.

    Raises `DecodingError` in one line for what is no id, of the model called `name`.
    """
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [token for inner in value for token in end_tokens(name, [] if inner is None else inner)]
    if isinstance(value, int | float) and math.isfinite(value):
        return [int(value)]
    raise DecodingError(
        f"model '{name}' names an end token that is no number (eos_token_id {json.dumps(value)[:60]}); mend {NAME}, or "
        "config.json where that names it"
    )
