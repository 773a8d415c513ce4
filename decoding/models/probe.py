"""One small tree on a loaded model, against plain forwards: what a family does with masks, positions and caches shows.

Several siblings lie between the root and the node that is looked at, so that a model which ignores the mask, or counts
slots where it should count positions, gives other logits. What rounding does is measured beside it, on a chain of the
same tokens, and a model is refused only when trees of different tokens all differ: experts may be chosen by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectui.decoding.device.switch import language_model
from spectui.decoding.errors import DecodingError
from spectui.decoding.target.sizes import PROVEN, text_config
from spectui.decoding.target.support import ANOTHER
from spectui.decoding.trees.shape import ancestor_mask

TRIALS = 3
PREFIX = 12
"""Tokens before the tree."""
PARENT = np.asarray([-1] * 6 + [5])
"""Six siblings and, below the last of them, one node more."""
LAST, BELOW = 5, 6
"""The nodes that are looked at."""
TOLERANCE = {torch.float32: 2e-3, torch.float16: 3e-2, torch.bfloat16: 1.5e-1}
"""Of a row's spread (its standard deviation over the vocabulary): differences that are taken for rounding."""
NOISE = 6.0
"""Times what a chain of the same tokens differs: taken for rounding too."""
COARSE = 0.5
"""Of a row's spread: a chain that differs by more is not decoded as a whole forward is."""


class Probe:
    """Takes the plain forwards when it is made; `check` decodes the trees with the model as it is then.

    Nothing is tried with families that the suite decodes with (`support.PROVEN`).
    """

    def __init__(self, model: Any) -> None:
        """Raises `DecodingError` where the model's own forward fails."""
        self._model = model
        self._name = str(model.config.model_type)
        self._trials: list[_Trial] = []
        if self._name not in PROVEN:
            self._guarded(lambda: self._trials.extend(_Trial.of(model, seed) for seed in range(TRIALS)))

    def check(self) -> None:
        """Raise `DecodingError` in one line unless the trees' rows are those of plain forwards."""
        self._guarded(self._compare)

    def _compare(self) -> None:
        if not self._trials:
            return
        target = language_model(self._model)
        why = ""
        for trial in self._trials:
            why = trial.differs(target) or ""
            if not why:
                return
        raise DecodingError(self._cannot(why))

    def _guarded(self, work: Any) -> None:
        try:
            with torch.inference_mode():
                work()
        except (DecodingError, torch.OutOfMemoryError):
            raise
        except (
            Exception
        ) as error:  # whatever a family's layers make of a mask or a cache that they do not expect
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise DecodingError(self._cannot(f"its layers fail on one ({said})")) from error

    def _cannot(self, why: str) -> str:
        return f"model type '{self._name}' cannot decode a speculative tree: {why}; {ANOTHER}"


@dataclass(frozen=True)
class _Trial:
    """A prefix with its root, a tree, a token behind it; and what plain forwards say of them."""

    prefix: list[int]
    nodes: list[int]
    after: int
    rows: torch.Tensor
    """float32 ``[3, V]`` after `LAST`, `BELOW` and the token behind it, of one forward."""
    alone: torch.Tensor
    """float32 ``[V]`` after `BELOW` where nothing is behind it."""

    @classmethod
    def of(cls, model: Any, seed: int) -> _Trial:
        ids = _tokens(model, PREFIX + len(PARENT) + 2, seed)
        prefix, nodes, after = ids[: PREFIX + 1], ids[PREFIX + 1 : -1], ids[-1]
        path = [*prefix, nodes[LAST], nodes[BELOW]]
        return cls(prefix, nodes, after, _plain(model, [*path, after])[-3:], _plain(model, path)[-1])

    def differs(self, target: Any) -> str | None:
        """Words on what is other in `target`, a `LanguageModel`; None where nothing is, or nothing can be told."""
        spread = float(self.rows.std(-1).min())
        if not (np.isfinite(spread) and spread > 0):
            return None  # decoding will say that logits are not finite
        rounding = TOLERANCE.get(self.rows_dtype(target), TOLERANCE[torch.bfloat16])
        if getattr(target.model.config, "quantization_config", None) is not None:
            rounding = max(rounding, TOLERANCE[torch.float16])

        def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
            return float((found.to(expected.device) - expected).abs().max()) / spread

        if distance(self.rows[1], self.alone) > max(rounding, COARSE):
            return "its tokens see those behind them, so it is no causal decoder"
        target.reset()
        target.prefill(self.prefix[:-1])
        chain = np.asarray([self.prefix[-1], self.nodes[LAST], self.nodes[BELOW]])
        noise = distance(_append(target, chain, np.asarray([-1, 0]))[1:], self.rows[:2])
        if not noise <= max(rounding, COARSE):
            return "with a cache and a mask it gives other logits than in one forward"
        target.keep([])
        allowed = max(rounding, NOISE * noise)
        tree = _append(target, np.asarray([self.prefix[-1], *self.nodes]), PARENT)
        if not distance(tree[[LAST + 1, BELOW + 1]], self.rows[:2]) <= allowed:
            return "it does not keep to a tree's mask or positions (siblings change each other's logits)"
        target.keep([0, LAST + 1, BELOW + 1])
        behind = _append(target, np.asarray([self.after]), np.asarray([], dtype=np.int64))
        if not distance(behind[0], self.rows[2]) <= allowed:
            return "what is kept of a tree in its cache is not what the path alone would have left"
        return None

    @staticmethod
    def rows_dtype(target: Any) -> torch.dtype:
        """The type that the model computes in."""
        kind: torch.dtype = target.model.dtype
        return kind


def _append(target: Any, tokens: Any, parent: Any) -> torch.Tensor:
    """Logits of a root and the nodes below it, of which `parent` says where."""
    depth = [0]
    for above in parent:
        depth.append(depth[above + 1] + 1)
    scored = target.append(tokens, np.asarray(depth), ancestor_mask(np.asarray(parent, dtype=np.int64)))
    logits: torch.Tensor = scored.logits
    return logits.clone()


def _plain(model: Any, ids: list[int]) -> torch.Tensor:
    """float32 ``[n, V]``: one forward, nothing cached."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[
        0
    ]
    return logits.float()


def _tokens(model: Any, count: int, seed: int) -> list[int]:
    """Different tokens where there are enough, none of which the configuration gives a meaning of its own."""
    text = text_config(model.config)
    special = {
        value
        for config in (model.config, text)
        for key, value in vars(config).items()
        if key.endswith(("token_id", "token_index")) and isinstance(value, int)
    }
    ids = np.random.default_rng(seed).permutation(int(text.vocab_size))
    plain = [int(token) for token in ids[: count + 64] if token not in special]
    return (plain * count)[:count]
