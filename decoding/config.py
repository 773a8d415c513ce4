"""The configuration of a run, with its options: plain data, checked; needs neither torch nor numpy."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import (
    accepted_weights,
    default_kind,
    draft_help,
    either,
    kind_of,
    named_kinds,
)
from spectui.decoding.errors import UsageError
from spectui.decoding.options import Form, Part, Rule, fits, option, options_of, read_duration, read_shard
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

MOST_CONCURRENCY = 256
MOST_NAME = 64
"""Characters of an environment variable's name: keys are longer."""
NAMES_VARIABLE = "name an environment variable, not the key itself"

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")

OF_A_SERVER = ("model", "api_key_env", "concurrency", "baseline_server", "vllm_dir")
"""Fields that mean nothing without `server`."""
OF_MODELS_HERE = (
    "study", "target", "draft", "tree", "raw", "device", "dtype", "max_nodes", "keep_nodes", "allow_pickle", "shard",
)  # fmt: skip
"""Fields that mean nothing with `server`."""

AT_LEAST_1 = Rule("it must be at least 1", lambda value: value >= 1)
MORE_THAN_0 = Rule("it must be more than 0", lambda value: value > 0)
A_DEVICE = Rule(
    "use auto, cpu, cuda or cuda:N",
    lambda value: value in DEVICES or value.removeprefix("cuda:").isdecimal(),
)


def _is_shard(value: str) -> bool:
    """True for a shard as `read_shard` takes it, and for none."""
    try:
        return not value or bool(read_shard(value))
    except ValueError:
        return False


def drafter_choices(target: str) -> tuple[str, ...]:
    """The choices of a draft field in a form: the target's default, then the named drafters that fit it."""
    embedded = target in ("", EMBEDDED_TARGET)
    names = [kind.name for kind in named_kinds(embedded=embedded)]
    default = default_kind(embedded=embedded).name
    names.insert(names.index(default) + 1, f"{default}{WITH_LOOKUP}")
    return ("", *names)


def names_variable(text: str) -> bool:
    """True for what can be the name of an environment variable; most keys cannot."""
    return text.isidentifier() and text.isascii() and len(text) <= MOST_NAME


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run. Raises `UsageError` when a field makes no sense.

    A field with an `option` is one of ``spectui run``, in the order of ``--help``; the settings file, the file that
    ``config init`` writes, the form for a new run and the documents have it from here.
    """

    study: bool = option(
        False,
        "--study",
        f"Repeat the published study: all prompts, greedy, tree {STUDY_TREE}, a drafter with probabilities, and "
        f"{STUDY_TOKENS} tokens per prompt unless --max-new-tokens says otherwise.",
        setting="",
        part=Part.SESSION,
        form=Form(
            "study",
            "space: yes, fills in the rest",
            about=f"The published set-up: all prompts, {STUDY_TREE}, greedy, probabilities.",
        ),
    )
    template_args: dict[str, Any] = option(
        dict,
        "--template-arg",
        "Set a variable of the model's chat template, such as enable_thinking=false. Can be repeated.",
        metavar="NAME=VALUE",
        setting="template_args",
        example="{ enable_thinking = false }",
        part=Part.PROMPTS,
    )
    max_new_tokens: int = option(
        256,
        "--max-new-tokens",
        "Most tokens per prompt (default: {default}).",
        metavar="T",
        rule=AT_LEAST_1,
        form=Form("new tokens", "most for one prompt", begin="96"),
    )
    target: str = option(
        EMBEDDED_TARGET,
        "--target",
        "'{default}' (the default), a folder, or a hub id. MODEL@REVISION takes that branch, tag or commit, for "
        "--draft too.",
        metavar="M",
        rule=Rule(f"give a model id, a folder, or '{EMBEDDED_TARGET}'", lambda value: bool(value.strip())),
        part=Part.MODELS,
        form=Form("target", f"{EMBEDDED_TARGET}, a hub id or a folder"),
    )
    draft: str = option(
        "",
        "--draft",
        draft_help(),
        metavar="D",
        example='"eagle"',
        part=Part.MODELS,
        form=Form(
            "drafter",
            "space: next; or a model, head",
            about=f"Or the id or folder of {either(accepted_weights())}.",
            choices=drafter_choices(EMBEDDED_TARGET),
        ),
    )
    tree: str = option(
        "",
        "--tree",
        "dynamic:8x4, full:3x2, chain:5, recycling:8, paths:00,1, or a .json file of rank paths. auto (the default) "
        "takes the tree that pays most by the costs measured on this machine; auto:FILE takes each task's tree from "
        "a plan file (spectui advise --save).",
        metavar="SHAPE",
        part=Part.MODELS,
        form=Form(
            "tree",
            "empty: what pays most here",
            about=f"{AUTO}:FILE gives each task the tree that a plan file names. Or "
            "dynamic:8x4 (nodes x depth), full:3x2 (depth x branching), chain:5, a file.",
        ),
    )
    """Chosen by the worker before the first round where it is empty or `AUTO` (`decoding.worker.choose_tree`). With
    `WITH_LOOKUP` it may end in ``+chain:N``, what a match is continued with."""
    server: str = option(
        "",
        "--server",
        "Run the prompts on a server (llama.cpp, vLLM or SGLang) instead of on models here, such as "
        "http://127.0.0.1:8000.",
        metavar="URL",
        setting="",
        part=Part.MODELS,
    )
    model: str = option(
        "",
        "--model",
        "With --server: the model to ask for, where it serves several.",
        metavar="NAME",
        setting="",
        part=Part.MODELS,
    )
    api_key_env: str = option(
        "",
        "--api-key-env",
        "With --server: the environment variable that holds the key. The key itself is never stored or printed, "
        "and goes to the host of --server alone.",
        metavar="NAME",
        rule=Rule(
            NAMES_VARIABLE,
            lambda value: not value or names_variable(value),
        ),
        setting="",
        part=Part.MODELS,
    )
    concurrency: int = option(
        1,
        "--concurrency",
        "With --server: prompts in flight at a time (default: {default}).",
        metavar="N",
        rule=Rule(
            f"it must be between 1 and {MOST_CONCURRENCY}", lambda value: 1 <= value <= MOST_CONCURRENCY
        ),
        setting="",
        part=Part.MODELS,
    )
    baseline_server: str = option(
        "",
        "--baseline-server",
        "With --server: the same server without speculation, which is given each prompt, too, so that the speed-up is "
        "measured in pairs.",
        metavar="URL",
        setting="",
        part=Part.MODELS,
    )
    vllm_dir: str = option(
        "",
        "--vllm-dir",
        "With --server: the folder that the recorder inside a vLLM writes to, for every node. Of a server on this "
        "machine it is found without.",
        metavar="DIR",
        setting="",
        part=Part.MODELS,
    )
    temperature: float = option(
        0.0,
        "--temperature",
        "Sampling temperature; 0 decodes greedily (default: 0).",
        metavar="X",
        rule=Rule("it must be between 0 (greedy) and 10", lambda value: 0.0 <= value <= 10.0),
        form=Form("temperature", "0 decodes greedily"),
    )
    top_p: float = option(
        1.0,
        "--top-p",
        "Sample from the most likely tokens whose probabilities add up to P (default: 1).",
        metavar="P",
        rule=Rule("it must be above 0 and at most 1", lambda value: 0.0 < value <= 1.0),
        example="0.9",
        form=Form("top p", "nucleus kept when sampling"),
    )
    raw: bool = option(
        False,
        "--raw",
        "Decode bare logits: ignore the model's generation_config.json, such as its repetition penalty and "
        "forbidden tokens.",
        form=Form(
            "raw",
            "space: yes, bare logits",
            about="Without the repetition penalty and the like of generation_config.json.",
        ),
    )
    seed: int = option(
        0,
        "--seed",
        "Seed of sampling (default: {default}).",
        metavar="S",
        rule=Rule("it must be between 0 and 2^32-1", lambda value: 0 <= value < 2**32),
        form=Form("seed", "of the sampling"),
    )
    """The prompt's position is mixed in, so that prompts are independent."""
    device: str = option(
        "auto",
        "--device",
        "auto (GPUs, else the CPU; the default), cpu, cuda or cuda:N.",
        metavar="DEVICE",
        rule=A_DEVICE,
        form=Form("device", "space: next; or cuda:N", choices=DEVICES),
    )
    dtype: str = option(
        "auto",
        "--dtype",
        "auto, float32, bfloat16 or float16 (default: {default}).",
        metavar="TYPE",
        rule=Rule(f"use one of {', '.join(DTYPES)}", lambda value: value in DTYPES),
        form=Form("dtype", "space: next", choices=DTYPES),
    )
    """`auto` is float32 on a CPU and the checkpoint's own type elsewhere."""
    max_seconds: float | None = option(
        None,
        "--max-time",
        "Stop the run after this much decoding time, such as 90s, 45m or 12h.",
        metavar="TIME",
        read=read_duration,
        rule=MORE_THAN_0,
        example='"45m"',
    )
    max_nodes: int | None = option(
        None,
        "--max-nodes",
        "Stop the run after N nodes.",
        metavar="N",
        rule=MORE_THAN_0,
    )
    max_tokens: int | None = option(
        None,
        "--max-tokens",
        "Stop the run after N tokens over all prompts.",
        metavar="N",
        rule=MORE_THAN_0,
    )
    keep_nodes: str = option(
        KEEP_ALL,
        "--keep-nodes",
        "Nodes to keep after a prompt has ended: all (the default); rounds (only those on committed paths; text, "
        "rounds and counts always stay); or N-days (all of them for N days).",
        metavar="WHAT",
        setting="",
    )
    """See `kept_from`."""
    allow_pickle: bool = option(
        False,
        "--allow-pickle",
        "Also load pickled weights, a format that can hold code. Only for models that you trust.",
        setting="",
    )
    price: float | None = option(
        None,
        "--price",
        "Price of an hour of the device, in any currency; adds the price of a million tokens.",
        metavar="P",
        rule=Rule("it must be 0 or more, for an hour of the device", lambda value: 0.0 <= value < inf),
        example="2.5",
        part=Part.SESSION,
        form=Form(
            "price",
            "of an hour of the device",
            about="Price of an hour of the device, in any currency; adds the price of a million tokens.",
        ),
    )
    shard: str = option(
        "",
        "--shard",
        "Run one of N shards of the prompts, such as 2/3: every N-th prompt of each task. 'spectui sessions "
        "merge' makes one session of all.",
        metavar="I/N",
        rule=Rule("write it as 2/3: shards are counted from 1/3 to 3/3", _is_shard),
        setting="",
        part=Part.PROMPTS,
    )
    independent: bool = False
    """True forgets at each prompt what a drafter learned of earlier ones, so that rounds do not depend on which prompts
    ran before."""
    force_budget: bool = False
    """True uses a plan file that was made for other models or another machine."""
    speculate: bool = True
    """False drafts nothing and decodes one token a round: the baseline of `spectui bench`."""

    def __post_init__(self) -> None:
        for name, declared in options_of(type(self)).items():
            declared.check(getattr(self, name))
        kept_from(self.keep_nodes)
        if not isinstance(self.template_args, dict):
            raise UsageError("--template-arg is no table of names and values")
        check_switches(self.template_args)
        self._check_server()
        if self.shard and self.keep_nodes != KEEP_ALL:
            raise UsageError(
                f"--keep-nodes {self.keep_nodes} does not go with --shard: prune what shards are merged into"
            )
        if self.study:
            self._check_study()
        if self.speculate and not self.server:
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

    def _check_server(self) -> None:
        declared = options_of(type(self))
        if not self.server:
            for name in OF_A_SERVER:
                if getattr(self, name) != declared[name].default:
                    raise UsageError(f"{declared[name].flag} belongs to --server URL")
            return
        for name in OF_MODELS_HERE:
            if getattr(self, name) != declared[name].default:
                raise UsageError(f"{declared[name].flag} does not go with --server, whose models are its own")
        if self.baseline_server and self.concurrency > 1:
            raise UsageError("--baseline-server compares one prompt at a time; leave out --concurrency")

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
        annotations = {field.name: str(field.type) for field in fields(cls)}
        for name, value in data.items():
            if not fits(value, annotations[name]):
                raise UsageError(
                    f"the configuration's {name} is of the wrong type; it has to be {annotations[name]}"
                )
        return cls(**{"raw": True, **data})

    def changed(self, **changes: Any) -> RunConfig:
        """A copy with some fields replaced, validated again."""
        return replace(self, **changes)


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
