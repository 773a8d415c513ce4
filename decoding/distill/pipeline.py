"""A whole distillation: text, vocabulary, training, evaluation, and the folder with the head."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import torch

from spectui.decoding.checkpoints.embedded import EMBEDDED
from spectui.decoding.checkpoints.embedded import folder as embedded_folder
from spectui.decoding.checkpoints.hub import Progress, split_revision
from spectui.decoding.checkpoints.locate import locate, locate_draft
from spectui.decoding.config import EMBEDDED_TARGET, RunConfig
from spectui.decoding.distill import card, evaluate, vocabulary, writers
from spectui.decoding.distill.config import SHARE_OF_TIME, DistillConfig
from spectui.decoding.distill.generate import Template
from spectui.decoding.distill.initial import feature_layers
from spectui.decoding.distill.profile import profile
from spectui.decoding.distill.rehearsal import rehearse
from spectui.decoding.distill.shards import Shards
from spectui.decoding.distill.train import autocast, check_finite, train
from spectui.decoding.drafters.registry import EAGLE, PEAGLE, either, kind_in
from spectui.decoding.eagle.checkpoint import load_head, save_head
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models.generation_settings import asked_for
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.models.placement import resolve_device
from spectui.decoding.trees.profile import PROFILE_FILE
from spectui.prompts import bundled, interleave
from spectui.store.files import remove_drafts, write_text
from spectui.store.paths import expanded

Say = Callable[[str], None]

PROFILE_SEQUENCES = 400
PROFILE_DEPTH = 6

DYNAMIC_TREES = (
    "dynamic:3x1", "dynamic:2x2", "dynamic:3x2", "dynamic:4x3", "dynamic:6x3", "dynamic:8x4", "dynamic:12x4",
)  # fmt: skip
TREE_QUESTIONS = 16
"""Dynamic trees that runs may choose from, and how many bundled prompts (at most) measure them.

No text is like these prompts (`prompts.Guard`); questions from training's own templates promise large trees too much.
"""

RESPONSE_SHARE = 0.6
"""About how much of the generated text is response; only for saying beforehand what a run takes."""


class Log:
    """Writes every figure to ``log.jsonl`` in the work folder, and says it in a line."""

    def __init__(self, path: Path, say: Say) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._say = say

    def __call__(self, stage: str, **values: Any) -> None:
        """One entry."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "stage": stage, **values}
        print(json.dumps(entry), file=self._file, flush=True)
        self._say(f"{stage}: " + ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in values.items()))


def distill(
    config: DistillConfig, work: Path, out: Path, say: Say, questions: list[dict[str, str]]
) -> dict[str, Any]:
    """Make a head for `config.target` in the folder `out`; intermediate data stays in `work`.

    Interrupted at any point, the same call goes on there. Returns the
    figures of its evaluation on `questions`. Raises
    `UsageError` for settings that do not fit the folder's data and `DecodingError` for the rest.
    """
    began = time.monotonic()
    try:
        work.mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}") from error
    with _only_one(work):
        settings = work / "distill.json"
        config.check_continues(settings)
        if not settings.exists():
            _refuse_taken(out)
        remove_drafts(work)
        config.save(settings)
        log = Log(work / "log.jsonl", say)
        device = resolve_device(config.device)
        dtype = config.dtype if config.dtype != "auto" else fast_dtype(device)
        models = load_models(
            RunConfig(target=config.target, device=config.device, dtype=dtype, speculate=False),
            lambda stage, *_: say(stage),
            tuned=False,
        )
        feature_layers(models.target)  # refuses unfit targets before anything is generated
        Template.of(models.tokenizer)
        if left_out := asked_for(models.target):
            say(
                f"text is written from bare logits, without {', '.join(left_out)} of the target's own settings"
            )
        start = _start_folder(config, say)
        earlier = None if start is None else load_head(start, models.target, dtype=torch.float32)
        mask = _mask(config, models, earlier)
        rehearse(config, models.target, earlier, mask)
        _say_needs(config, models, work, say)
        text = work / "text"
        if _needs_text(config, text):
            deadline = began + 60 * config.minutes * SHARE_OF_TIME["generate"]
            writers.write_text(config, dtype, models, text, deadline=deadline, log=log)
            _remember_text(config, text)
        data = Shards(text)
        tokens = _vocabulary(config, models, data, work, log, earlier)
        budget = 60 * config.minutes * SHARE_OF_TIME["train"]
        head, state = train(
            config, data, models.target, tokens, work, seconds=budget, log=log, earlier=earlier, mask=mask
        )
        return _finish(
            config, models, data, head, state.history, state.seconds, start, work, out, questions, log
        )


def fast_dtype(device: torch.device) -> str:
    """bfloat16 where the machine multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return "bfloat16"
    fast = (
        torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return "bfloat16" if fast else "float32"


def _refuse_taken(out: Path) -> None:
    """Raise `UsageError` when files of a head already lie in `out`."""
    for name in (*card.FILES, card.NAME):
        if (out / name).exists():
            raise UsageError(f"{out / name} is there already; name another --out")


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    handle = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"another distillation is at work in {work}; give another --work folder") from error
    try:
        yield
    finally:
        os.close(handle)


def target_name(target: str) -> str:
    """The target's name in a head's files: a hub id, or the last part of a folder, never a path."""
    if target == EMBEDDED_TARGET:
        return EMBEDDED.name
    return Path(target).name if Path(target).is_dir() else target


def verifier_id(target: str) -> str:
    """The target as other programs find it, for a head's configuration: its id on the hub where that is known.

    Of a folder that is no snapshot of the hub's cache it is the folder's name, which they find from beside it.
    """
    folder = expanded(target)
    if target == EMBEDDED_TARGET or folder == embedded_folder():
        return EMBEDDED.hub_id
    if not folder.is_dir():
        return split_revision(target)[0]
    cached = next((part for part in folder.resolve().parts if part.startswith("models--")), None)
    return target_name(target) if cached is None else cached.removeprefix("models--").replace("--", "/", 1)


def _say_needs(config: DistillConfig, models: LoadedModels, work: Path, say: Say) -> None:
    """Report the disk space and memory of the run; raise `DecodingError` when the disk has less."""
    model = models.target.config.get_text_config()
    item = models.target.dtype.itemsize
    per_token = 4 * model.hidden_size * item + 8
    have = Shards(work / "text").response_tokens if (work / "text").is_dir() else 0
    disk = int(max(0, config.tokens - have) / RESPONSE_SHARE * per_token)
    heads = int(model.num_key_value_heads)
    width = int(getattr(model, "head_dim", None) or model.hidden_size // model.num_attention_heads)
    room = config.slots * (config.prompt_tokens + config.max_new_tokens)
    memory = sum(p.numel() * p.element_size() for p in models.target.parameters()) + room * (
        2 * int(model.num_hidden_layers) * heads * width * item + per_token
    )
    free = shutil.disk_usage(work).free
    say(
        f"{config.tokens:,} response tokens take about {disk / 1e9:.1f} GB in {work} ({free / 1e9:.0f} GB free) "
        f"and {memory / 1e9:.1f} GB of memory per process "
        f"({psutil.virtual_memory().available / 1e9:.0f} GB available)"
    )
    if disk > free:
        raise DecodingError(
            f"{work} has {free / 1e9:.1f} GB free and {disk / 1e9:.1f} GB are needed; lower --tokens or "
            "give --work on a larger disk"
        )


def _start_folder(config: DistillConfig, say: Say) -> Path | None:
    """The folder of the head to go on from; None without --start. Raises `UsageError` when it holds no head."""
    if not config.start:
        return None
    tell: Progress = lambda stage, *_: say(stage)  # noqa: E731
    folder = locate_draft(config.start, locate(config.target, tell), tell)
    nouns = {kind: kind.weights.noun for kind in (EAGLE, PEAGLE) if kind.weights is not None}
    if config.recipe == EAGLE.name:
        del nouns[PEAGLE]
    if kind_in(folder) not in nouns:
        raise UsageError(
            f"--start {config.start} is not {either(list(nouns.values()))}; give the folder of one"
        )
    return folder


def _mask(config: DistillConfig, models: LoadedModels, earlier: EagleHead | None) -> int | None:
    """The token of a P-EAGLE head's masked pairs, that of `earlier` where it has one; None for other heads."""
    if config.recipe != PEAGLE.name:
        return None
    if earlier is not None and earlier.config.mask_token is not None:
        return earlier.config.mask_token
    return vocabulary.mask_token(models.tokenizer, int(models.target.config.get_text_config().vocab_size))


def _trained_before(start: Path | None) -> list[dict[str, Any]]:
    """Records of the trainings of the head in `start`, the oldest first, as far as its folder has them."""
    if start is None:
        return []
    try:
        known = json.loads((start / "training.json").read_text("utf-8"))
    except (OSError, ValueError):
        return [{}]
    return [*known.pop("before", []), known]


def _needs_text(config: DistillConfig, text: Path) -> bool:
    try:
        finished = json.loads((text / "finished.json").read_text("utf-8"))["tokens"]
    except (OSError, ValueError, KeyError):
        return True
    return bool(config.tokens > finished)


def _remember_text(config: DistillConfig, text: Path) -> None:
    # A time limit may have ended it earlier: the wish is kept, so that a restart trains instead of writing on.
    write_text(text / "finished.json", json.dumps({"tokens": config.tokens}))


def _vocabulary(
    config: DistillConfig,
    models: LoadedModels,
    data: Shards,
    work: Path,
    log: Callable[..., None],
    earlier: EagleHead | None,
) -> list[int]:
    """The most frequent tokens; those of `earlier`, whose text was another, stay."""
    size = int(models.target.config.get_text_config().vocab_size)
    held = vocabulary.held_back(data)
    trained_on = vocabulary.counts(data, np.flatnonzero(~held).tolist(), size)
    validated_on = vocabulary.counts(data, np.flatnonzero(held).tolist(), size)
    ends = sorted(i for i in models.tokenizer.end_ids if i < size)
    kept = [] if earlier is None else earlier.draft_ids.tolist()
    if config.vocabulary < len(kept):
        raise UsageError(f"--start drafts {len(kept)} tokens; give --vocabulary {len(kept)} or more")
    tokens = vocabulary.choose(trained_on, config.vocabulary, [*ends, *kept])
    figures = {
        "response_tokens": data.response_tokens,
        "sequences": len(data),
        "distinct": int(np.count_nonzero(trained_on)),
        "size": len(tokens),
        "coverage_validation": round(vocabulary.coverage(validated_on, tokens), 4),
        "by_size": vocabulary.coverage_by_size(trained_on, validated_on),
    }
    write_text(work / "vocabulary.json", json.dumps(figures, indent=1) + "\n")
    log("vocabulary", **figures)
    return tokens


def _finish(
    config: DistillConfig,
    models: LoadedModels,
    data: Shards,
    head: EagleHead,
    history: list[dict[str, Any]],
    seconds: float,
    start: Path | None,
    work: Path,
    out: Path,
    questions: list[dict[str, str]],
    log: Callable[..., None],
) -> dict[str, Any]:
    """Measure the head's acceptance, save it, evaluate it on the held-out questions, and write its card."""
    held = np.flatnonzero(vocabulary.held_back(data))[:PROFILE_SEQUENCES]
    head.eval()
    with autocast(models.target.device, models.target.dtype):
        acceptance = profile(head, (data.sequence(int(i)) for i in held), PROFILE_DEPTH)
    log(
        "profile",
        covered=round(acceptance.covered, 4),
        chain=[round(v, 3) for v in acceptance.chain.tolist()],
    )
    check_finite(head, "after training")
    save_head(head, out, target_name=verifier_id(config.target))
    acceptance.save(out / PROFILE_FILE, {})
    chosen = interleave(bundled())[: min(TREE_QUESTIONS, len(questions))]
    trees = evaluate.tokens_per_round(
        str(out), config.target, [p.text for p in chosen], DYNAMIC_TREES, device=config.device
    )
    acceptance.save(out / PROFILE_FILE, trees)
    log("trees", **trees)
    figures = evaluate.evaluate(str(out), config.target, device=config.device, questions=questions)
    evaluate.save(figures, out / "evaluation.json")
    log("evaluate", depth=figures["depth"]["all"], tau={k: v["all"] for k, v in figures["tau"].items()})
    text = json.loads((work / "vocabulary.json").read_text("utf-8"))
    training = {
        "settings": {
            **json.loads((work / "distill.json").read_text("utf-8")),
            "target": target_name(config.target),
            "start": target_name(config.start),
        },
        "seconds": round(seconds),
        "history": history,
        "text": text,
        "before": _trained_before(start),
        "parameters": sum(p.numel() for p in head.parameters()),
    }
    write_text(out / "training.json", json.dumps(training, indent=1) + "\n")
    card.write(out)
    return figures


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
