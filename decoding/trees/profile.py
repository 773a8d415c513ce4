"""Acceptance profiles: how often a drafter's candidates are accepted, by depth and rank. Trees are chosen by them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.trees.limits import MAX_BRANCHING, MAX_DEPTH

PROFILE_FILE = "profile.json"
"""File beside the weights of a draft: ``{"rank_share": [[...], ...], "trees": {...}, "rounds": 1.0}``, the fields of
`AcceptanceProfile`.

Other keys are left alone, and only one of the first two is needed."""

ROUNDED = 1e-3
"""Excess over 1 that a sum of rounded shares may have."""


@dataclass(frozen=True)
class AcceptanceProfile:
    """Acceptance of one drafter on one target's text."""

    hits: tuple[tuple[float, ...], ...] = ()
    """``hits[d][r]``: of the rounds whose path reached depth d and whose tree goes on there, the share that
    goes on with the rank-r child. The last row stands for all deeper ones."""
    trees: Mapping[str, float] = field(default_factory=dict)
    """Measured tokens per round of whole trees by name. Where there are any, a tree is chosen among them."""
    rounds: float = 1.0
    """Share of rounds in which the drafter drafts at all."""

    def __post_init__(self) -> None:
        if not self.hits and not self.trees:
            raise ValueError("it says nothing about any tree")
        if len(self.hits) > MAX_DEPTH or not all(
            1 <= len(row) <= MAX_BRANCHING and min(row) >= 0.0 and sum(row) <= 1.0 + ROUNDED
            for row in self.hits
        ):
            raise ValueError("shares by depth and rank must each lie within 0..1, and so must a depth's sum")
        if not 0.0 < self.rounds <= 1.0:
            raise ValueError(f"{self.rounds} is no share of rounds")

    @classmethod
    def read(cls, folder: Path) -> AcceptanceProfile | None:
        """The profile that comes with a draft; None without one. Raises `DecodingError` where it is broken.

        A file of that name with none of its keys belongs to another program.
        """
        from spectui.decoding.trees.spec import (
            parse_tree,  # brings in numpy, which a configuration does without
        )

        path = folder / PROFILE_FILE
        try:
            data: Any = json.loads(path.read_bytes())
            if not {"rank_share", "trees"} & data.keys():
                return None
            hits = tuple(tuple(float(share) for share in row) for row in data.get("rank_share", []))
            trees = {str(name): float(tokens) for name, tokens in data.get("trees", {}).items()}
            for name in trees:
                parse_tree(name)
            return cls(hits, trees, float(data.get("rounds", 1.0)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError, UsageError) as error:
            raise DecodingError(
                f"{path} is no acceptance profile ({error}); remove it or write it again"
            ) from error
