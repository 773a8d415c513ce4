"""Texts of recorded tokens: the files hold ids, and a tokenizer file says what they stand for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from spectui.decoding.errors import UsageError
from spectui.decoding.tokens.spelling import Spelling
from spectui.store.paths import expanded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"


class Texts:
    """The tokens of a ``tokenizer.json``. Raises `UsageError` where it is none."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            data = path.read_bytes()
            self._tokenizer: Tokenizer = Tokenizer.from_buffer(data)
        except OSError as error:
            raise UsageError(f"the tokenizer {path} cannot be read: {error.strerror}") from error
        except Exception as error:  # whatever the library makes of the file
            raise UsageError(f"{path} is no tokenizer file: {str(error)[:100]}") from error
        self.path = path
        self.identity = "file " + hashlib.sha256(data).hexdigest()[:16]
        """A name that sessions with the same file share."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._spelling = Spelling(SimpleNamespace(backend_tokenizer=self._tokenizer), list(vocabulary))
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token for token, value in added.items() if value.special}

    def bytes_of(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Id -> bytes of those that the tokenizer has."""
        known: dict[int, bytes] = {}
        for token in ids:
            text = self._tokenizer.id_to_token(token) if token >= 0 else None
            if text is not None:
                known[token] = text.encode() if token in self._special else self._spelling.bytes_of(text)
        return known

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens without special ones; those that are not known are left out."""
        known = [token for token in ids if token >= 0]
        return str(self._tokenizer.decode(known, skip_special_tokens=True))


def find_texts(model: str, named: Path | None = None) -> Texts | None:
    """The tokenizer that is named, else that of the model where its files are on this machine; else None.

    Nothing is fetched. Raises `UsageError` where the one that is named cannot be read.
    """
    if named is not None:
        return Texts(named / TOKENIZER if named.is_dir() else named)
    for path in _places(model):
        try:
            if path.is_file():
                return Texts(path)
        except (OSError, ValueError, UsageError):
            continue
    return None


def _places(model: str) -> Iterable[Path]:
    if not model or "\0" in model:
        return
    if Path(model).is_absolute():
        yield Path(model) / TOKENIZER
        return
    hub = Path(
        os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    )
    of_model = expanded(hub) / f"models--{model.replace('/', '--')}" / "snapshots"
    yield from sorted(of_model.glob(f"*/{TOKENIZER}"), reverse=True)
