"""The files that a tokenizer is in, and what reading them takes: torch-free."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from spectui.decoding.errors import DecodingError

INSTALL = "pip install 'spectui[sentencepiece]' (sentencepiece and protobuf)"

_READY = "tokenizer.json"
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_OTHERS = (
    "vocab*",
    "merges.txt",
    "tokenizer*",
    "*.tiktoken",
    "*.model",
    "tekken.json",
    "special_tokens_map.json",
)


def has_tokenizer(folder: Path) -> bool:
    """True for a folder with files of a tokenizer."""
    return (folder / _READY).is_file() or any(True for pattern in _OTHERS for _ in folder.glob(pattern))


def check_tokenizer(name: str, folder: Path) -> None:
    """Raise `DecodingError` in one line where the model in `folder` has no tokenizer, or one that needs a package."""
    if (folder / _READY).is_file():
        return
    if not has_tokenizer(folder):
        raise DecodingError(
            f"model '{name}' has no tokenizer files; copy those of the model it was made from to {folder}"
        )
    pieces = next((file for file in _SENTENCEPIECE if (folder / file).is_file()), None)
    if pieces is None:
        return
    missing = [module for module in ("sentencepiece", "google.protobuf") if not _has(module)]
    if missing:
        raise DecodingError(
            f"the tokenizer of '{name}' is a SentencePiece file ({pieces}), which needs a package: {INSTALL}"
        )


def damaged_file(folder: Path) -> str | None:
    """Words on the first of a tokenizer's files that is no JSON object; None where all are."""
    for name in (_READY, "tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        try:
            if path.is_file() and not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                return f"its {name} is no JSON object; fetch it again"
        except (OSError, ValueError, RecursionError) as error:
            return f"its {name} is damaged or cut ({error}); fetch it again"
    return None


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
