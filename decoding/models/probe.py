"""A trial of a loaded model: one small tree against plain forwards shows its use of masks, positions and caches.

Several siblings lie between the root and the compared node, so that a model which ignores the mask, or counts
slots where it should count positions, gives other logits. Rounding is measured beside it, on a chain of the same
tokens, and a model is refused only when trees of different tokens all differ: experts may be chosen by rounding.
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
"""The nodes whose logits are compared."""
TOLERANCE = {torch.float32: 2e-3, torch.float16: 3e-2, torch.bfloat16: 1.5e-1}
"""Differences that are taken for rounding, in standard deviations of a row over the vocabulary."""
NOISE = 6.0
"""Differences that are taken for rounding too, as a multiple of those of a chain of the same tokens."""
COARSE = 0.5
"""Differences of a chain, in standard deviations, beyond which the model decodes otherwise than in one forward."""


class Probe:
    """Runs the plain forwards when it is made; `check` decodes the trees with the model as it is then.

    Families that the suite decodes with (`support.PROVEN`) are not tried.
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
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise DecodingError(self._cannot(f"its layers fail on one ({reason})")) from error

    def _cannot(self, why: str) -> str:
        return f"model type '{self._name}' cannot decode a speculative tree: {why}; {ANOTHER}"


@dataclass(frozen=True)
class _Trial:
    """A prefix with its root, a tree, a token behind it, and their logits in plain forwards."""

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
        """Words on a difference in `target`, a `LanguageModel`; None where there is none, or logits are not finite."""
        spread = float(self.rows.std(-1).min())
        if not (np.isfinite(spread) and spread > 0):
            return None  # decoding will say that logits are not finite
        rounding = TOLERANCE.get(self.rows_dtype(target), TOLERANCE[torch.bfloat16])
        if getattr(target.model.config, "quantization_config", None) is not None:
            rounding = max(rounding, TOLERANCE[torch.float16])

        def distance(logits: torch.Tensor, expected: torch.Tensor) -> float:
            return float((logits.to(expected.device) - expected).abs().max()) / spread

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
        """The type of the model's computations."""
        kind: torch.dtype = target.model.dtype
        return kind


def _append(target: Any, tokens: Any, parent: Any) -> torch.Tensor:
    """Logits of a root and the nodes below it, whose parents are `parent`."""
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
