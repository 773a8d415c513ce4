"""``generation_config.json`` as a file that people bring: whether it can be read, and which end tokens it names.

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
        found: Any = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise DecodingError(f"model '{name}' has a {NAME} that cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DecodingError(f"model '{name}' has a {NAME} that is not JSON: {error}; {_MEND}") from error
    if not isinstance(found, dict):
        raise DecodingError(f"model '{name}' has a {NAME} that is no JSON object; {_MEND}")
    end_tokens(name, found.get("eos_token_id"))


def why_refused(folder: Path) -> str | None:
    """What transformers says against the file in `folder`; None where nothing."""
    from transformers import GenerationConfig

    if not (folder / NAME).is_file():
        return None
    try:
        GenerationConfig.from_pretrained(folder).validate()
    except Exception as error:  # its classes are handed whatever the file holds
        return f"its {NAME} cannot be used: {' '.join(str(error).split())[:200]}; {_MEND}"
    return None


def end_tokens(name: str, said: Any) -> list[int]:
    """The ids of an ``eos_token_id``, read as `generate` reads it: lists of any depth, numbers cut to whole ones.

    Raises `DecodingError` in one line for what is no id, of the model called `name`.
    """
    if said is None:
        return []
    if isinstance(said, list | tuple):
        return [token for inner in said for token in end_tokens(name, [] if inner is None else inner)]
    if isinstance(said, int | float) and math.isfinite(said):
        return [int(said)]
    raise DecodingError(
        f"model '{name}' names an end token that is no number (eos_token_id {json.dumps(said)[:60]}); mend {NAME}, or "
        "config.json where that names it"
    )
