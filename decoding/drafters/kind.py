"""The facts that a kind of drafter states about itself: what it is called, needs and offers.

Imports neither torch nor numpy: the command line reads its help from here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectui.decoding.trees.profile import AcceptanceProfile

if TYPE_CHECKING:
    from spectui.decoding.trees.shape import Shape

Spot = str
"""``module:function``, imported when it is called, so that naming it costs nothing."""


def imported(spot: Spot) -> Any:
    """The function that `spot` names."""
    module, _, name = spot.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Weights:
    """The files of a kind that drafts with weights of its own."""

    noun: str
    """The weights with their article, as messages name them: "an EAGLE-3 head"."""
    recognise: Callable[[Mapping[str, Any]], bool] | None = None
    """Whether a ``config.json`` describes weights of this kind."""
    whole_model: bool = False
    """True for causal language models, which transformers loads: they may be targets, and the target itself may
    be the draft."""
    load: Spot = ""
    """Loads all others: ``(folder, target, *, device, allow_pickle)`` returns the weights on `device`."""
    tune: Spot = ""
    """Makes loaded weights faster; they go on computing the same."""
    size_from_config: Spot = ""
    """Bytes of the weights that the ``config.json`` of a folder describes."""
    home: Callable[[Path], Path] | None = None
    """The folder that the kind's name stands for, from the target's; None where a folder or an id has to be given."""


@dataclass(frozen=True)
class DrafterKind:
    """A kind of drafter. Configuration, loading, trees, benchmarks, form and help read these facts, not its name."""

    name: str
    """Value of ``--draft``, for a kind whose name stands for something (`named`)."""
    help: str
    """One line on how it drafts."""
    default_tree: str
    """Tree of a run where none is asked for and none can be chosen by measured costs."""
    build: Spot
    """Makes the drafter of a `decoding.drafters.base.Setup`."""
    device_build: Spot = ""
    """The same where forwards have fixed sizes; empty where `build` does for both."""
    weights: Weights | None = None
    """None for a drafter without weights."""
    probabilities: bool = True
    """Whether it states probabilities, which dynamic trees and the study need."""
    chains_only: bool = False
    """Whether it knows a single continuation."""
    dynamic_choice: bool = False
    """Whether a tree that is chosen by cost is dynamic: its size and depth are chosen, its nodes anew each round."""
    lookup_beside: bool = True
    """Whether lookup may stand beside it. What does not draft in most rounds is no default either."""
    only_embedded: bool = False
    """Whether its name stands for something with the embedded target alone."""
    profile: AcceptanceProfile | None = None
    """Acceptance known before a run; weights may bring theirs in a file beside them."""
    bench_trees: tuple[str, ...] = ()
    """Trees that `spectui bench --drafters all` measures beside the one chosen by cost."""

    @property
    def named(self) -> bool:
        """Whether ``--draft`` takes its name."""
        return self.weights is None or self.weights.home is not None

    def recognises(self, config: Mapping[str, Any]) -> bool:
        """Whether a ``config.json`` describes weights of this kind."""
        return (
            self.weights is not None and self.weights.recognise is not None and self.weights.recognise(config)
        )

    def check_tree(self, shape: Shape) -> None:
        """Raise `UsageError` for a tree that it cannot fill."""
        from spectui.decoding.trees.spec import chain_only, static_only

        if self.chains_only:
            chain_only(shape, self.name)
        elif not self.probabilities:
            static_only(shape, self.name)
