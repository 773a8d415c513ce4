"""The options of a run: plain data, checked; needs neither torch nor numpy."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import default_kind, kind_of
from spectui.decoding.errors import UsageError
from spectui.decoding.tokens.template_args import check_switches

if TYPE_CHECKING:
    from spectui.decoding.trees.shape import Shape, TreeShape

EMBEDDED_TARGET = "embedded"
"""`target` (or `draft`) value that names the model which comes with spectui."""

WITH_LOOKUP = "+lookup"
"""Ending of a `draft` beside which lookup drafts wherever the text repeats itself."""

STUDY_TREE = "full:3x2"
"""The tree of the published study, the same for every task."""

STUDY_TOKENS = 80
"""Tokens per prompt of a study that names no number: 200 prompts make about as many nodes as were published."""

CHAIN_BESIDE = "+chain:"
"""Separates a drafter's tree from the chain of the lookup beside it."""

DEFAULT_BESIDE = f"{CHAIN_BESIDE}8"
"""The chain where none is given, longer than that of lookup alone, since it follows longer matches."""

AUTO = "auto"
"""The `tree` that the worker chooses, as it does where none is given."""

FROM_FILE = f"{AUTO}:"
"""Prefix of a `tree` that names a plan file with a tree for each task."""

UNCHOSEN = "by measured cost"
"""Label of a tree until the worker has chosen it."""

KEEP_ALL, KEEP_ROUNDS = "all", "rounds"
_DAYS = re.compile(r"(\d{1,5})-?days?|(\d{1,5})d")

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class RunConfig:
    """Everything that is set before a run. Raises `UsageError` for a value, or a combination, that makes no sense."""

    target: str = EMBEDDED_TARGET
    """Model id, local folder, or `EMBEDDED_TARGET`."""
    draft: str = ""
    """The name of a kind of drafter (`decoding.drafters.registry`), or the id or folder of weights to draft with;
    empty for the target's default. May end in `WITH_LOOKUP`."""
    tree: str = ""
    """Tree shape as `decoding.trees.spec.parse_tree` reads it; empty, or `AUTO`, for the one that pays most on the
    machine (`decoding.worker.choose_tree`), which the worker puts here before the first round. With `WITH_LOOKUP` it
    may end in ``+chain:N``, the chain that lookup drafts. ``auto:FILE`` gives each task its own, from a plan file
    (`decoding.trees.plan_file`)."""
    max_new_tokens: int = 256
    """Most tokens generated for one prompt."""
    temperature: float = 0.0
    """0 decodes greedily; anything above samples, losslessly."""
    top_p: float = 1.0
    """Nucleus kept when sampling."""
    raw: bool = False
    """True ignores the settings of the model's own `generation_config.json`."""
    seed: int = 0
    """Seed of the sampling; the prompt's position is mixed in, so that prompts are independent."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: str = "auto"
    """`auto` is float32 on a CPU and the checkpoint's own type elsewhere."""
    max_seconds: float | None = None
    """A run ends after the round in which it has decoded for so long; None for no limit."""
    max_nodes: int | None = None
    """A run ends after the round in which it has recorded so many nodes."""
    max_tokens: int | None = None
    """A run ends after the round in which it has generated so many tokens, of all prompts together."""
    keep_nodes: str = KEEP_ALL
    """Nodes that are kept after a prompt has ended: `all`, `rounds` (those on the committed paths) or `N-days` (all,
    for so long); see `kept_from`."""
    allow_pickle: bool = False
    """True also loads pickled weights, a format that can hold code."""
    force_budget: bool = False
    """True uses a plan file that was made for other models or another machine."""
    price: float | None = None
    """Price of an hour of the device, in any currency; for the figures alone."""
    speculate: bool = True
    """False drafts nothing and decodes one token a round: the baseline of `spectui bench`."""
    template_args: dict[str, Any] = field(default_factory=dict, hash=False)
    """Variables for the chat template, such as ``{"enable_thinking": False}``."""
    study: bool = False
    """True requires the set-up of the published study: `STUDY_TREE`, greedy, a draft with probabilities."""

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise UsageError(f"--target is empty: give a model id, a folder, or '{EMBEDDED_TARGET}'")
        if self.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens is {self.max_new_tokens}; it must be at least 1")
        if not 0.0 <= self.temperature <= 10.0:
            raise UsageError(f"--temperature is {self.temperature}; it must be between 0 (greedy) and 10")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"--top-p is {self.top_p}; it must be above 0 and at most 1")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed is {self.seed}; it must be between 0 and 2^32-1")
        if self.device not in DEVICES and not self.device.removeprefix("cuda:").isdecimal():
            raise UsageError(f"--device is '{self.device}'; use auto, cpu, cuda or cuda:N")
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype is '{self.dtype}'; use one of {', '.join(DTYPES)}")
        for option, limit in (
            ("time", self.max_seconds),
            ("nodes", self.max_nodes),
            ("tokens", self.max_tokens),
        ):
            if limit is not None and not limit > 0:
                raise UsageError(f"--max-{option} is {limit}; it must be more than 0")
        kept_from(self.keep_nodes)
        if self.price is not None and not 0.0 <= self.price < float("inf"):
            raise UsageError(f"--price is {self.price}; it must be 0 or more, for an hour of the device")
        if not isinstance(self.template_args, dict):
            raise UsageError("--template-arg is no table of names and values")
        check_switches(self.template_args)
        if self.study:
            self._check_study()
        if self.speculate:
            self._check_drafting()

    @property
    def chooses_tree(self) -> bool:
        """True where the worker chooses the tree by measured costs."""
        return not self.tree or self._named_tree() == AUTO

    @property
    def plan_file(self) -> str:
        """The plan file that each task's tree is taken from; "" where there is one tree."""
        named = self._named_tree()
        return named.removeprefix(FROM_FILE) if named.startswith(FROM_FILE) else ""

    @property
    def greedy(self) -> bool:
        """True where tokens are the target's argmax rather than drawn."""
        return self.temperature == 0.0

    @property
    def draft_name(self) -> str:
        """The drafter of the run: `draft`, or the target's default."""
        return self.draft.strip() or default_kind(embedded=self.target == EMBEDDED_TARGET).name

    @property
    def looks_up(self) -> bool:
        """True where lookup stands beside the drafter."""
        return self.draft_name.endswith(WITH_LOOKUP)

    @property
    def base_draft(self) -> str:
        """The drafter of the run without the lookup beside it."""
        return self.draft_name.removesuffix(WITH_LOOKUP)

    @property
    def lookup_suffix(self) -> str:
        """`WITH_LOOKUP` where lookup stands beside the drafter, else ""."""
        return WITH_LOOKUP if self.looks_up else ""

    @property
    def kind(self) -> DrafterKind:
        """The kind that `base_draft` names, as far as a name tells."""
        return kind_of(self.base_draft)

    @property
    def tree_label(self) -> str:
        """Label of the tree before the run has begun: its name, or that it will be chosen."""
        return UNCHOSEN if self.chooses_tree else self.tree

    @property
    def tree_spec(self) -> str:
        """The tree of the run: `tree`, or the drafter's default where none is chosen."""
        if self.plan_file:
            return self.tree
        base, chain = self._tree_parts()
        return base + chain

    def shape(self) -> Shape:
        """The drafter's tree, parsed. Raises `UsageError` for one that cannot be."""
        # Not at the top: it brings in numpy, which options and help do without.
        from spectui.decoding.trees.spec import parse_tree

        return parse_tree(self._tree_parts()[0])

    def lookup_shape(self) -> TreeShape:
        """The chain of the lookup beside the drafter. Raises `UsageError` when there is none."""
        from spectui.decoding.trees.spec import parse_shape

        return parse_shape(self._tree_parts()[1].removeprefix("+"))

    def _tree_parts(self) -> tuple[str, str]:
        """The drafter's own tree, and ``+chain:N`` where lookup stands beside it."""
        base = self._named_tree()
        chain = (self.tree.removeprefix(base) or DEFAULT_BESIDE) if self.looks_up else ""
        if base == AUTO or self.plan_file:
            base = ""
        return base or self.kind.default_tree, chain

    def _named_tree(self) -> str:
        """`tree` without the chain of the lookup beside the drafter."""
        return self.tree.partition(CHAIN_BESIDE)[0] if self.looks_up else self.tree

    def _check_drafting(self) -> None:
        self.kind.check_tree(self.shape())
        if self.looks_up:
            self.lookup_shape()
            if not self.base_draft or not self.kind.lookup_beside:
                raise UsageError(
                    f"--draft is '{self.draft}'; put {WITH_LOOKUP} behind another drafter, as in "
                    f"{default_kind(embedded=False).name}{WITH_LOOKUP}"
                )

    def _check_study(self) -> None:
        if not self.greedy or self.top_p != 1.0:
            option = "top-p" if self.greedy else "temperature"
            raise UsageError(f"--{option} does not go with --study: what was published decodes greedily")
        if self.tree != STUDY_TREE:
            raise UsageError(
                f"--tree {self.tree or 'left open'} does not go with --study, whose tree is {STUDY_TREE} for every"
                " task: with another, or one that changes, comparisons over depth mean nothing"
            )
        if self.keep_nodes != KEEP_ALL:
            raise UsageError(
                f"--keep-nodes {self.keep_nodes} does not go with --study: its tables are of all nodes"
            )
        if not self.kind.probabilities or self.looks_up:
            default = "" if self.draft.strip() else f", the default for {self.target},"
            raise UsageError(
                f"--draft {self.draft_name}{default} does not go with --study, whose tables need the draft's"
                " probabilities at every node: name a model or an EAGLE-3 head"
            )

    def to_json(self) -> str:
        """One JSON object, keys as the fields."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """The inverse of `to_json`; unknown keys raise `UsageError`, missing ones take their default.

        Only without `raw`, which is younger than sessions that decoded so, a configuration is `raw`."""
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the configuration is not JSON that spectui reads: {error}") from error
        if not isinstance(data, dict):
            raise UsageError("the configuration is not a JSON object")
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunConfig:
        """The configuration of such an object, already parsed."""
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise UsageError(f"unknown configuration key '{unknown[0]}'; a newer spectui may have written it")
        kinds = {field.name: str(field.type) for field in fields(cls)}
        for name, value in data.items():
            if not _fits(value, kinds[name]):
                raise UsageError(
                    f"the configuration's {name} is of the wrong type; it has to be {kinds[name]}"
                )
        return cls(**{"raw": True, **data})

    def changed(self, **changes: Any) -> RunConfig:
        """A copy with some fields replaced, validated again."""
        return replace(self, **changes)


def _fits(value: object, kind: str) -> bool:
    """True for a value from JSON of the type that a field is annotated with, such as ``float | None``."""
    plain, _, none = kind.partition(" | ")
    if value is None:
        return bool(none)
    if isinstance(value, bool):
        return plain == "bool"
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    kinds["dict[str, Any]"] = (dict,)
    return isinstance(value, kinds.get(plain, ()))


def kept_from(keep_nodes: str) -> datetime | None:
    """Prompts that ended before this time lose their nodes; None keeps all.

    `keep_nodes` is "all", "rounds" (lost at once) or a number of days such as "30-days". Raises `UsageError` otherwise.
    """
    retention = keep_nodes.strip().lower()
    if retention == KEEP_ALL:
        return None
    if retention == KEEP_ROUNDS:
        return datetime.now(UTC)
    match = _DAYS.fullmatch(retention)
    days = int(match[1] or match[2]) if match else 0
    if not days:
        raise UsageError(
            f"--keep-nodes is '{keep_nodes}'; use {KEEP_ALL}, {KEEP_ROUNDS} or a number of days such as 30-days"
        )
    return datetime.now(UTC) - timedelta(days=days)
