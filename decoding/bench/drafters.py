"""Many drafters and trees on the same prompts: ``spectui bench --drafters all``.

Against them run our plain loop and transformers' `generate`, its prompt lookup and, for draft models, its
assisted mode. Models are shared; a drafter learns from its own arm alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spectui.decoding.bench.arms import Arm, EngineArm, GenerateArm, fit_assistant
from spectui.decoding.bench.drafters_table import ASSISTED, GREEDY, PLAIN, PROMPT_LOOKUP
from spectui.decoding.bench.paired import PairedOutcomes, divergence
from spectui.decoding.config import EMBEDDED_TARGET, WITH_LOOKUP, RunConfig
from spectui.decoding.drafters.registry import EAGLE, named_kinds
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models.generation_settings import GenerationSettings
from spectui.decoding.models.load import LoadedModels, Progress, load_models, with_draft
from spectui.decoding.worker.choose_tree import with_tree
from spectui.prompts import Prompt
from spectui.store.paths import expanded

ALL = "all"
"""Stands for `all_drafters` in a list of drafters."""

_MORE_PATHS = re.compile(r"[0-9][0-9a-v]*(\+chain:\d+)?")
"""The text behind a comma inside a tree of rank paths, `decoding.trees.shape.paths_spec`."""


@dataclass
class Comparison:
    """The drafters that were compared, and their outcomes."""

    drafters: dict[str, RunConfig]
    """By name as it was asked for; every configuration names the tree that was measured."""
    chosen: set[str]
    """Those of them that were asked for without a tree."""
    device: str
    dtype: str
    measured: PairedOutcomes = field(default_factory=PairedOutcomes)
    divergences: list[dict[str, Any]] = field(default_factory=list)
    """Outputs that are not those of `generate`: arm, prompt, position and the top-two margin there."""

    @property
    def baselines(self) -> list[str]:
        """The arms that are none of `drafters`."""
        return [name for name in self.measured.outcomes if name not in self.drafters]

    def assisted(self, arm: str) -> str | None:
        """The assisted mode to compare `arm` with: that with its own draft model, else the first there is."""
        assisted = [name for name in self.baselines if name.startswith(ASSISTED)]
        with_same_draft = ASSISTED + self.drafters[arm].base_draft if arm in self.drafters else arm
        return with_same_draft if with_same_draft in assisted else next(iter(assisted), None)


def all_drafters(target: str) -> list[str]:
    """Every drafter that has a name with `target`; those with several trees also with lookup beside them."""
    drafters: list[str] = []
    for kind in named_kinds(embedded=target == EMBEDDED_TARGET):
        if kind.weights is not None and kind.weights.inside:  # few targets have them
            continue
        drafters += [kind.name, *(f"{kind.name}@{tree}" for tree in kind.bench_trees)]
        drafters += [f"{kind.name}{WITH_LOOKUP}"] if kind.bench_trees else []
    return drafters


def parse_drafters(text: str, base: RunConfig) -> dict[str, RunConfig]:
    """Configurations by name from a list such as ``eagle,eagle@chain:3,recycling``; see `RunConfig.draft`.

    Behind ``@`` stands a tree; without one it is chosen as for any run. `base` has everything else.
    Raises `UsageError`, one line with all that is wrong.
    """
    configs: dict[str, RunConfig] = {}
    wrong: list[str] = []
    for item in _items(text):
        for name in all_drafters(base.target) if item == ALL else [item]:
            try:
                configs[name] = _config(name, base)
            except UsageError as error:
                wrong.append(f"'{name}': {error}")
    if wrong:
        raise UsageError(f"--drafters {'; '.join(wrong)}")
    if not configs:
        raise UsageError(
            f"--drafters names none; give '{ALL}' or a list such as {EAGLE.name},{EAGLE.name}@chain:3"
        )
    return configs


def _items(text: str) -> Iterator[str]:
    """The parts between commas, but for the commas that belong to a tree of rank paths."""
    held = ""
    for part in (part.strip() for part in text.split(",")):
        if "@paths:" in held and _MORE_PATHS.fullmatch(part):
            held += f",{part}"
            continue
        if held:
            yield held
        held = part
    if held:
        yield held


def _config(name: str, base: RunConfig) -> RunConfig:
    if name in (GREEDY, PLAIN, PROMPT_LOOKUP):
        raise UsageError("it is always measured; leave it out")
    draft, at, tree = name.rpartition("@")
    if not at or expanded(name).is_dir():
        return base.changed(draft=name, tree="")
    if not draft or not tree:
        raise UsageError(f"give a drafter and a tree, as in {EAGLE.name}@chain:3")
    return base.changed(draft=draft, tree=tree)


def compare(
    drafters: Mapping[str, RunConfig], chosen: Sequence[Prompt], *, tell: Callable[[str], None]
) -> Comparison:
    """Measure the drafters of `parse_drafters`, which decode greedily, on every prompt.

    Everything is loaded before any of it: raises `DecodingError` with the name of a drafter that is unfit.
    """
    progress: Progress = lambda stage, *_: tell(stage)  # noqa: E731
    plain = next(iter(drafters.values())).changed(draft="", tree="", speculate=False)
    target = load_models(plain, progress)
    reference = load_models(plain, progress, tuned=False)
    vocabulary = target.tokenizer
    arms: dict[str, Arm] = {
        PLAIN: EngineArm(SpeculativeDecoder(plain, models=target)),
        GREEDY: GenerateArm(reference.target, plain, vocabulary, assistant=None, lookup=False),
        PROMPT_LOOKUP: GenerateArm(reference.target, plain, vocabulary, assistant=None, lookup=True),
    }
    loaded: dict[str, LoadedModels] = {}
    for name, config in drafters.items():
        if (draft := config.base_draft) in loaded:
            continue
        with _blaming(name):
            loaded[draft] = with_draft(config, target, progress)
            if loaded[draft].draft_model(config) is not None:
                model = with_draft(config, reference, progress, tuned=False).draft
                if fit_assistant(reference.target, model, tell) is not None:
                    arms[ASSISTED + draft] = GenerateArm(
                        reference.target, plain, vocabulary, assistant=model, lookup=False
                    )
    named = _with_trees(drafters, loaded, tell)
    for name, config in named.items():
        with _blaming(name):
            arms[name] = EngineArm(SpeculativeDecoder(config, models=loaded[config.base_draft]))
    comparison = Comparison(
        named,
        {name for name in named if not drafters[name].tree},
        str(target.target.device),
        str(target.target.dtype).removeprefix("torch."),
    )
    _run(comparison, arms, chosen, reference, tell)
    return comparison


def _run(
    comparison: Comparison,
    arms: Mapping[str, Arm],
    chosen: Sequence[Prompt],
    reference: LoadedModels,
    tell: Callable[[str], None],
) -> None:
    """Every arm on every prompt, after a warm-up."""
    plain = next(iter(comparison.drafters.values()))
    encode = partial(reference.tokenizer.encode_prompt, switches=plain.template_args)
    settings = GenerationSettings(reference.target, plain, reference.tokenizer)
    for name, arm in arms.items():
        tell(f"warming up {name}")
        arm.run(encode("Hello."), 0, warm_up=True)
    for number, prompt in enumerate(chosen, start=1):
        ids = encode(prompt.asked)
        comparison.measured.take_turns(arms, prompt, ids)
        last = {name: outcomes[-1] for name, outcomes in comparison.measured.outcomes.items()}
        for name, outcome in last.items():
            if place := divergence(settings, ids, outcome.tokens, last[GREEDY].tokens):
                comparison.divergences.append({"arm": name, "prompt": prompt.id, **place})
        best = max(comparison.drafters, key=lambda name: last[name].tokens_per_second)
        tell(f"{number}/{len(chosen)} {prompt.id}: {best} {last[best].tokens_per_second:.1f} tok/s")


def _with_trees(
    drafters: Mapping[str, RunConfig], loaded: Mapping[str, LoadedModels], tell: Callable[[str], None]
) -> dict[str, RunConfig]:
    """The drafters with the trees they are measured with, each pair once, under the name it has first."""
    named: dict[str, RunConfig] = {}
    names: dict[tuple[str, str], str] = {}
    for name, config in drafters.items():
        with _blaming(name):
            config = with_tree(config, loaded[config.base_draft], lambda stage, *_: tell(stage))
        first = names.setdefault((config.draft_name, config.tree_spec), name)
        if first != name:
            tell(f"{name} is measured as {first}: the tree is the same")
            continue
        named[name] = config
    return named


@contextlib.contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Name the drafter whose fault an error is."""
    try:
        yield
    except DecodingError as error:
        raise DecodingError(f"--drafters '{name}': {error}") from error
