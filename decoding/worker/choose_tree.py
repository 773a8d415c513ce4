"""Choice of the tree for a run that names none: the one that pays most on this machine, or the drafter's default."""

from __future__ import annotations

import logging
import os

from spectui.decoding.config import AUTO, CHAIN_BESIDE, RunConfig
from spectui.decoding.drafters.registry import LOOKUP_BESIDE_PROFILE
from spectui.decoding.models.load import LoadedModels, Progress
from spectui.decoding.trees import costs
from spectui.decoding.trees.candidates import best_tree
from spectui.decoding.trees.costs import Costs
from spectui.decoding.trees.profile import AcceptanceProfile
from spectui.decoding.trees.spec import trimmed_spec
from spectui.decoding.worker.measure_acceptance import measured_profile
from spectui.decoding.worker.measure_costs import machine, measure

log = logging.getLogger("spectui.costs")


def measuring_allowed() -> bool:
    """False where ``SPECTUI_MEASURE=0`` asks for the default trees, the same on every machine."""
    return os.environ.get("SPECTUI_MEASURE") != "0"


def with_tree(config: RunConfig, models: LoadedModels, progress: Progress | None = None) -> RunConfig:
    """`config` with the tree that it names, or else the one with the most tokens per second here.

    Costs come from the cache, or are measured now (six seconds) and kept; acceptance is that of greedy
    decoding, measured too for a draft model that came without it. Other drafters whose acceptance is not known, and
    any with ``SPECTUI_MEASURE=0`` or in a shard, take their default tree, no deeper than they draft. Raises
    `DecodingError` for a broken profile beside a draft.
    """
    if not config.chooses_tree or not config.speculate:
        return config
    kind = models.drafter_kind(config)
    # Each shard would measure its own machine, and those with other trees cannot be merged.
    measuring = measuring_allowed() and not config.shard
    profile = profile_of(config, models) if measuring else None
    if profile is None and measuring and kind.drafts_as_it_reads:
        profile = measured_profile(config, models, progress)
    if profile is None:
        if kind is not config.kind:  # its folder says more than its name did
            default = trimmed_spec(kind.default_tree, models.deepest)
            config = config.changed(tree=default + config.tree.removeprefix(AUTO))
        return config.changed(tree=config.tree_spec)
    beside = LOOKUP_BESIDE_PROFILE if config.looks_up else None
    tree, _ = best_tree(
        profile,
        costs_of(config, models, progress),
        beside,
        dynamic=kind.dynamic_choice,
        deepest=models.deepest,
    )
    chain = config.tree.removeprefix(AUTO)
    return config.changed(tree=tree.partition(CHAIN_BESIDE)[0] + chain if chain else tree)


def known_costs(config: RunConfig, models: LoadedModels) -> Costs | None:
    """The kept costs of rounds here, for the session's record; None where there are none."""
    return costs.load(machine(config, models)) if config.speculate else None


def profile_of(config: RunConfig, models: LoadedModels) -> AcceptanceProfile | None:
    """The acceptance profile of the drafter, without the lookup beside it; None where none was measured.

    Raises `DecodingError` for a broken profile beside a draft.
    """
    known = models.drafter_kind(config).profile
    return AcceptanceProfile.read(models.draft_folder) if known is None and models.draft_folder else known


def costs_of(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None, *, thorough: bool = False
) -> Costs:
    """The kept costs of these models here; measured where there are none, or when `thorough`.

    Measured costs are kept, unless the machine was busy: then they serve once, and the next run measures again.
    """
    kept = None if thorough else costs.load(machine(config, models))
    if kept is not None:
        return kept
    measured = measure(config, models, progress, thorough=thorough)
    if thorough or measured.steady:
        try:
            costs.save(measured)
        except OSError as error:
            log.warning("costs cannot be kept in %s: %s", costs.folder(), error)
    return measured
