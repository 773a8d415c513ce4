"""Training text on disk: sequences with the target's choices and hidden states, many to a file.

A shard appears whole or not at all. Per token: its id, the target's choice behind it, features and final
hidden state in half precision; a sequence's last token was never fed, so its row is zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.shape import IntArray
from spectui.store.files import files_below, replacing

_PREFIX = "shard-"


@dataclass(frozen=True)
class Sequence:
    """One prompt and response. `tokens` ``[T]``, `best` ``[T]``, `features` ``[T, F, H]``, `final` ``[T, H]``."""

    number: int
    task: int
    answer_from: int
    """Index of the response's first token."""
    tokens: IntArray
    best: IntArray
    features: torch.Tensor
    final: torch.Tensor


def write(folder: Path, index: int, sequences: list[Sequence]) -> Path:
    """Write shard `index`. Raises `DecodingError` when the disk refuses."""
    lengths = np.asarray([len(s.tokens) for s in sequences])
    tensors = {
        "tokens": torch.from_numpy(np.concatenate([s.tokens for s in sequences]).astype(np.int32)),
        "best": torch.from_numpy(np.concatenate([s.best for s in sequences]).astype(np.int32)),
        "end": torch.from_numpy(np.cumsum(lengths)),
        "answer_from": torch.tensor([s.answer_from for s in sequences]),
        "task": torch.tensor([s.task for s in sequences]),
        "number": torch.tensor([s.number for s in sequences]),
        "features": torch.cat([s.features for s in sequences]),
        "final": torch.cat([s.final for s in sequences]),
    }
    path = folder / f"{_PREFIX}{index:05d}.safetensors"
    response = int(sum(len(s.tokens) - s.answer_from for s in sequences))
    meta = {"tokens": int(lengths.sum()), "response_tokens": response, "sequences": len(sequences)}
    try:
        with replacing(path) as draft:
            save_file(tensors, draft, {"spectui": json.dumps(meta)})
    except (OSError, SafetensorError) as error:
        raise DecodingError(f"cannot write {path}: {error}; free some space and start again") from error
    return path


class Shards:
    """The finished shards below a folder, in order; small arrays in memory, features read on demand."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(files_below(folder, f"{_PREFIX}*.safetensors"))
        self._open: dict[int, Any] = {}
        index, tokens, best = [], [], []
        self.response_tokens = 0
        for number, path in enumerate(self.files):
            with _reading(path), safe_open(path, "pt") as data:
                end = data.get_tensor("end").numpy()
                start = np.concatenate([[0], end[:-1]])
                columns = [data.get_tensor(name).numpy() for name in ("answer_from", "task", "number")]
                index.append(np.stack([np.full(len(end), number), start, end, *columns], axis=1))
                tokens.append(data.get_tensor("tokens").numpy())
                best.append(data.get_tensor("best").numpy())
                self.response_tokens += json.loads(data.metadata()["spectui"])["response_tokens"]
        self._tokens, self._best = tokens, best
        self.index: IntArray = np.concatenate(index) if index else np.empty((0, 6), dtype=np.int64)
        """Per sequence: shard, first row, row behind the last, answer_from, task, number."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def following(self) -> int:
        """The index of a shard behind all, also where one between them was deleted."""
        return max((int(path.stem.removeprefix(_PREFIX)) + 1 for path in self.files), default=0)

    @property
    def lengths(self) -> IntArray:
        """Tokens of each sequence ``[S]``."""
        lengths: IntArray = self.index[:, 2] - self.index[:, 1]
        return lengths

    def tokens(self, index: int) -> IntArray:
        """A sequence's token ids ``[T]``."""
        shard, start, end = self.index[index, :3]
        tokens: IntArray = self._tokens[shard][start:end].astype(np.int64)
        return tokens

    def response(self, index: int) -> IntArray:
        """A sequence's response tokens."""
        return self.tokens(index)[self.index[index, 3] :]

    def sequence(self, index: int) -> Sequence:
        """Everything of a sequence."""
        shard, start, end, answer_from, task, number = (int(v) for v in self.index[index])
        if shard not in self._open:
            with _reading(self.files[shard]):
                self._open[shard] = safe_open(self.files[shard], "pt").__enter__()  # type: ignore[no-untyped-call]
        data = self._open[shard]
        return Sequence(
            number,
            task,
            answer_from,
            self.tokens(index),
            self._best[shard][start:end].astype(np.int64),
            data.get_slice("features")[start:end],
            data.get_slice("final")[start:end],
        )

    def responses(self) -> Iterator[IntArray]:
        """All responses in order."""
        for index in range(len(self)):
            yield self.response(index)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Inside, errors of a broken shard become a `DecodingError` in one line."""
    try:
        yield
    except (OSError, SafetensorError, KeyError) as error:
        raise DecodingError(
            f"training data {path} cannot be read ({error}); delete it and start again"
        ) from error
