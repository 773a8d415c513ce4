"""PARD models on disk: causal language models with a mask token in their configuration. Torch-free."""

from __future__ import annotations

from pathlib import Path

from spectui.decoding.checkpoints.weight_files import read_config
from spectui.decoding.errors import DecodingError
from spectui.decoding.target.sizes import Sizes


def describe(folder: Path, target: Sizes | None = None) -> str:
    """One line on the model in `folder`. Raises `DecodingError` for a mask token that it has no embedding for."""
    config = read_config(folder)
    token, tokens = config.get("pard_token"), config.get("vocab_size")
    if type(token) is not int or type(tokens) is not int or not 0 <= token < tokens:
        raise DecodingError(
            f"draft {folder} has pard_token = {token} in its config.json, and embeddings for {tokens} tokens; choose "
            "another"
        )
    return (
        f"a PARD model with pard_token {token}; for any target of its vocabulary, of {tokens} tokens; drafts trees of "
        "any depth, one forward a round"
    )
