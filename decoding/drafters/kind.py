"""The facts that a kind of drafter states about itself: its name, its needs and its offers.

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
"""``module:function``, or a class; imported when it is used, so that naming it costs nothing."""


def imported(spot: Spot) -> Any:
    """The function or class that `spot` names."""
    module, _, name = spot.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Weights:
    """The files of a kind that drafts with weights of its own."""

    noun: str
    """The weights with their article, as messages name them: "an EAGLE-3 head"."""
    recognise: Callable[[Mapping[str, Any]], bool] | None = None
    """Recognises weights of this kind by their ``config.json``; None for those that nothing else recognises."""
    recognise_files: Spot = ""
    """Recognises them by ``(config, folder)`` where no kind recognises ``config.json``."""
    whole_model: bool = False
    """True for causal language models, which transformers loads: they may be targets too, and the target may draft for
    itself."""
    load: Spot = ""
    """Loads weights that are no whole model: ``(folder, target, *, device, allow_pickle)`` returns them on `device`."""
    tune: Spot = ""
    """Makes loaded weights faster; they go on computing the same."""
    describe: Spot = ""
    """One line on weights that do not draft as any model does, ``(folder, sizes of the target or None)``: their layout,
    the target that they are for, what they draft. Raises `DecodingError` where they are unfit or for another target."""
    size_from_config: Spot = ""
    """Bytes of the weights that the ``config.json`` of a folder describes."""
    home: Callable[[Path], Path] | None = None
    """Finds the folder that the kind's name stands for, given the target's; None where ``--draft`` takes a folder or an
    id."""
    inside: bool = False
    """True where the weights lie among the target's own, in its folder."""


@dataclass(frozen=True)
class DrafterKind:
    """A kind of drafter. Configuration, loading, trees, benchmarks, form and help read these facts, never its name."""

    name: str
    """Value of ``--draft``, if the kind is `named`."""
    help: str
    """One line on how it drafts."""
    default_tree: str
    """Tree of a run where none is asked for and none can be chosen by measured costs."""
    build: Spot
    """Makes the drafter, from a `decoding.drafters.base.Setup`."""
    device_build: Spot = ""
    """Makes it where forwards have fixed sizes; empty where `build` serves both."""
    weights: Weights | None = None
    """None for a drafter without weights."""
    probabilities: bool = True
    """True for a drafter that states probabilities, which dynamic trees and the study need."""
    chains_only: bool = False
    """True for a drafter that knows a single continuation."""
    dynamic_choice: bool = False
    """True where a tree chosen by cost is dynamic: its size and depth are chosen, its nodes anew each round."""
    drafts_as_it_reads: bool = False
    """True where the ranks that the draft gives the tokens of a text are those of its drafts: each level is predicted
    from the tokens above it, whatever the tree."""
    lookup_beside: bool = True
    """False for a drafter that lookup would add nothing to. It is no default either."""
    only_embedded: bool = False
    """True where the name stands for weights that fit the embedded target alone."""
    profile: AcceptanceProfile | None = None
    """Acceptance known before a run; weights may bring theirs in a file beside them."""
    bench_trees: tuple[str, ...] = ()
    """Trees that `spectui bench --drafters all` measures beside the one chosen by cost."""

    @property
    def named(self) -> bool:
        """True where ``--draft`` takes the name rather than a folder or an id."""
        return self.weights is None or self.weights.home is not None

    @property
    def is_head(self) -> bool:
        """True for weights that draft for one target and are no model of their own."""
        return self.weights is not None and not self.weights.whole_model

    def recognises(self, config: Mapping[str, Any]) -> bool:
        """True for the ``config.json`` of weights of this kind."""
        return (
            self.weights is not None and self.weights.recognise is not None and self.weights.recognise(config)
        )

    def recognises_files(self, config: Mapping[str, Any], folder: Path) -> bool:
        """True for weights of this kind in `folder` whose ``config.json`` could be a model's."""
        spot = self.weights.recognise_files if self.weights is not None else ""
        return bool(spot) and bool(imported(spot)(config, folder))

    def check_tree(self, shape: Shape) -> None:
        """Raise `UsageError` for a tree that it cannot fill."""
        from spectui.decoding.trees.spec import chain_only, static_only

        if self.chains_only:
            chain_only(shape, self.name)
        elif not self.probabilities:
            static_only(shape, self.name)
