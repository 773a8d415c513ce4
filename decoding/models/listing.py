"""The models on this machine, which of them draft for which, and what fits: ``python -m
spectui.decoding.models.listing``, which ``spectui models ls`` runs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from spectui.decoding.checkpoints.weight_files import read_config
from spectui.decoding.config import EMBEDDED_TARGET, RunConfig
from spectui.decoding.drafters.kind import Weights, imported
from spectui.decoding.drafters.registry import named_kinds
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.loading import load_tokenizer
from spectui.decoding.models.local import LocalModel, local_models
from spectui.decoding.models.memory import Need
from spectui.decoding.models.needs import need_of
from spectui.decoding.models.placement import free_bytes, resolve_device
from spectui.decoding.target.sizes import Sizes, sizes_of
from spectui.decoding.tokens.vocabulary import Vocabulary, check_same_vocabulary


class _Listed:
    """One model with what its files tell."""

    def __init__(self, model: LocalModel) -> None:
        self.model, self.problem = model, model.problem
        self.words = ""
        """One line on a head."""
        self.sizes: Sizes | None = None
        """Of a whole model."""
        self.need: Need | None = None
        try:
            if self.problem is None:
                self._read()
        except DecodingError as error:
            self.problem = str(error)

    def _read(self) -> None:
        name, folder, weights = self.model.name, self.model.folder, self.model.kind.weights
        assert weights is not None
        if weights.describe:
            self.words = imported(weights.describe)(folder, None)
        if weights.whole_model:
            self.need = need_of(name, folder, RunConfig(target=name, draft="recycling"))
            self.sizes = sizes_of(folder, read_config(folder))

    @cached_property
    def tokens(self) -> tuple[str, Vocabulary]:
        """A fingerprint of the files of its tokenizer, and the vocabulary."""
        files = [
            self.model.folder / name for name in ("tokenizer.json", "tokenizer.model", "added_tokens.json")
        ]
        text = b"".join(path.read_bytes() for path in files if path.is_file())
        return hashlib.sha256(text).hexdigest(), load_tokenizer(self.model.folder, None)

    def drafts_for(self, target: _Listed) -> bool:
        """True where a run would take it as the draft of `target`: a head made for it, or a smaller model of the same
        vocabulary."""
        if self.problem is not None or target.sizes is None or target.problem is not None:
            return False
        weights = self.model.kind.weights
        try:
            if self.model.kind.is_head:
                return weights is not None and _reads(weights, self.model.folder, target.sizes)
            if self is target or self.model.bytes >= target.model.bytes:
                return False
            (print_of_draft, draft), (print_of_target, vocabulary) = self.tokens, target.tokens
            if print_of_draft != print_of_target:
                check_same_vocabulary(vocabulary, draft, target.model.name, self.model.name)
        except DecodingError:
            return False
        return True

    def named_drafts(self) -> list[str]:
        """Values of ``--draft`` that stand for weights of this target: a head of its own, a module in its files."""
        if self.sizes is None or self.problem is not None:
            return []
        names = []
        for kind in named_kinds(embedded=self.model.name == EMBEDDED_TARGET):
            weights = kind.weights
            if weights is None or weights.home is None:
                continue
            try:
                if _reads(weights, weights.home(self.model.folder), self.sizes):
                    names.append(kind.name)
            except DecodingError:
                continue
        return names


def _reads(weights: Weights, folder: Path, sizes: Sizes) -> bool:
    """True for weights made for a target of these sizes. Raises `DecodingError` where they are unfit."""
    if weights.describe:
        imported(weights.describe)(folder, sizes)
    return True


def listing(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """A row for each model, ready for JSON."""
    device = resolve_device("auto")
    free = free_bytes(device)
    listed = [_Listed(model) for model in local_models(folders)]
    pairs = [(draft, target) for target in listed for draft in listed if draft.drafts_for(target)]
    rows = []
    for each in listed:
        model, need = each.model, each.need
        rows.append(
            {
                "name": model.name,
                "folder": str(model.folder),
                "bytes": model.bytes,
                "architecture": model.architecture,
                "kind": model.noun,
                "words": each.words or None,
                "drafts": each.named_drafts()
                + [draft.model.name for draft, target in pairs if target is each],
                "targets": [target.model.name for draft, target in pairs if draft is each],
                "memory_bytes": None if need is None else need.total,
                "fits": None if need is None else need.total <= free,
                "problem": each.problem,
            }
        )
    return rows


def main() -> int:
    """Print the rows as JSON."""
    sys.stdout.write(json.dumps(listing([Path(folder) for folder in sys.argv[1:]])) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
