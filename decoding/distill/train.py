"""Stage 3: teach a head to go on as the target does, several tokens ahead."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectui.decoding.distill import vocabulary
from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.initial import begin, new_head
from spectui.decoding.distill.profile import Profile, profile
from spectui.decoding.distill.shards import Sequence, Shards
from spectui.decoding.distill.unroll import Batch, unroll
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.errors import DecodingError
from spectui.store.files import replacing

ONE_PASS = 0.35
"""Share of training that reads true features only; the passes on own states come after. A P-EAGLE head has none, and
begins with all its passes."""

PASS_WEIGHT = 0.8
"""Weight of pass k relative to pass k - 1 (EAGLE-3's)."""

LATER_SHARE = 0.5
"""Rows of a sequence that go on past the first pass."""

HARD = 0.5
"""Share of the loss that asks for the target's own choice; the rest asks for its distribution."""

LM_HEAD_RATE = 0.3
"""Learning rate of the draft vocabulary's rows, which start as the target's, relative to the others."""

WARM_UP, LAST_RATE, CLIP = 50, 0.03, 1.0
BETAS, DECAY = (0.9, 0.95), 0.01

CHUNK = 4096
"""Sequences that are sorted by length before they are cut into batches."""

SAY_SECONDS, VALIDATE_SECONDS = 15.0, 300.0
SAVE_SHARE, SAVE_AT_LEAST, SAVE_AT_MOST = 0.1, 2.0, 60.0
"""Weights are saved when a tenth of the time spent so far would be lost, within these seconds."""
VALIDATION_SEQUENCES = 160
SAMPLE_SEQUENCES = 400
"""Sequences that the weights where training starts are taken from."""


@dataclass
class State:
    """The progress of training, kept with the weights so that it can go on."""

    step: int = 0
    seen: int = 0
    """Response tokens visited."""
    epoch: int = 0
    batch: int = 0
    """Next batch of the epoch."""
    seconds: float = 0.0
    """Time spent training, over all starts."""
    history: list[dict[str, Any]] = field(default_factory=list)


def train(
    config: DistillConfig,
    data: Shards,
    model: Any,
    tokens: list[int],
    work: Path,
    *,
    seconds: float,
    log: Callable[..., None],
    earlier: EagleHead | None = None,
    mask: int | None = None,
) -> tuple[EagleHead, State]:
    """Train a head that drafts `tokens` for `epochs` passes over the responses, or `seconds` in all.

    It starts from `earlier` where given, and is a P-EAGLE head where a `mask` token is. Goes on from
    ``work/training.pt`` when it is there. Returns the trained head and its history. Raises `DecodingError`
    when there is too little text.
    """
    held = vocabulary.held_back(data)
    training = np.flatnonzero(~held)
    if len(training) < 8:
        raise DecodingError(f"there are {len(training)} training sequences; generate more (--tokens)")
    checks = np.flatnonzero(held)[:VALIDATION_SEQUENCES]
    if not len(checks):
        checks = training[:8]
    device, save = model.device, work / "training.pt"
    torch.manual_seed(config.seed)
    model.requires_grad_(False)  # its embedding is read, not trained
    head = new_head(model, tokens, layers=config.layers, mask=mask).to(device)
    optimizer = _optimizer(head, config)
    state = State()
    if save.is_file():
        state = _restore(save, head, optimizer, tokens)
        log("train", resumed_at_step=state.step)
    else:
        sample = (data.sequence(int(i)) for i in training[:SAMPLE_SEQUENCES])
        explained = begin(head, model, earlier, sample, config.seed)
        check_finite(head, "where training starts")
        parameters = sum(p.numel() for p in head.parameters())
        if explained is not None:
            log("train", parameters=parameters, ridge_explains=round(explained, 3))
        else:
            log("train", parameters=parameters, start=config.start)
            _validate(head, data, checks, config, autocast(device, model.dtype), state, log)
    row_of = torch.full((int(head.config.vocab_size),), -1, dtype=torch.long, device=device)
    row_of[head.draft_ids] = torch.arange(len(tokens), device=device)
    teacher = model.get_output_embeddings().weight.detach()[head.draft_ids]
    total = config.epochs * int(
        (data.index[training, 2] - data.index[training, 1] - data.index[training, 3]).sum()
    )
    generator = torch.Generator(device=device).manual_seed(config.seed)
    cast = autocast(device, model.dtype)

    spent, saved, logged, validated = state.seconds, time.monotonic(), time.monotonic(), time.monotonic()
    before, sums = time.monotonic(), _Sums()
    batches = list(_batches(data, training, config, state.epoch))
    while (done := max(state.seen / total, spent / seconds)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * _rate(done, state.step)
        batch = Batch.of([data.sequence(int(i)) for i in batches[state.batch]], device)
        passes = 1 if done < ONE_PASS and mask is None else config.passes
        with cast:
            loss = _loss(head, batch, passes, teacher, row_of, generator, sums)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(head.parameters(), CLIP)
        if not math.isfinite(float(norm) + float(loss.detach())):
            _save(save, head, optimizer, state, tokens)
            raise DecodingError(
                f"step {state.step + 1} of training gives numbers that are not finite; the state before it is kept in "
                f"{save}. Try --dtype float32"
            )
        optimizer.step()
        state.step += 1
        state.seen += int(batch.predicted(0).sum())
        state.batch += 1
        if state.batch == len(batches):
            state.epoch, state.batch = state.epoch + 1, 0
            batches = list(_batches(data, training, config, state.epoch))

        now = time.monotonic()
        spent, before = spent + now - before, now
        state.seconds = spent
        if now - logged >= SAY_SECONDS:
            logged = now
            seconds_left = min((1.0 - done) * seconds, (total - state.seen) / max(1e-9, state.seen / spent))
            log(
                "train", step=state.step, done=round(done, 3), tokens=state.seen, per_second=round(state.seen / spent),
                seconds_left=round(max(0.0, seconds_left)), **sums.take(),
            )  # fmt: skip
        if now - validated >= VALIDATE_SECONDS:
            validated = now
            _validate(head, data, checks, config, cast, state, log)
        if now - saved >= min(max(SAVE_SHARE * spent, SAVE_AT_LEAST), SAVE_AT_MOST):
            saved = now
            _save(save, head, optimizer, state, tokens)
    _validate(head, data, checks, config, cast, state, log)
    _save(save, head, optimizer, state, tokens)
    return head, state


def check_finite(head: EagleHead, where: str) -> None:
    """Raise `DecodingError` where a weight of `head` is not a finite number: such a head is never kept."""
    for name, weight in head.named_parameters():
        if not bool(weight.isfinite().all()):
            raise DecodingError(
                f"the head's {name} has numbers that are not finite, {where}; nothing was saved of it"
            )


def try_step(head: EagleHead, config: DistillConfig, model: Any, sequence: Sequence) -> None:
    """One step of training on one sequence, all its passes. Raises `DecodingError` where a number is not finite."""
    device = model.device
    check_finite(head, "where training starts")
    row_of = torch.full((int(head.config.vocab_size),), -1, dtype=torch.long, device=device)
    row_of[head.draft_ids] = torch.arange(len(head.draft_ids), device=device)
    teacher = model.get_output_embeddings().weight.detach()[head.draft_ids]
    optimizer, generator = _optimizer(head, config), torch.Generator(device=device).manual_seed(config.seed)
    with autocast(device, model.dtype):
        loss = _loss(head, Batch.of([sequence], device), config.passes, teacher, row_of, generator, _Sums())
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(head.parameters(), CLIP)
    optimizer.step()
    check_finite(head, "after a step of training")


def autocast(device: torch.device, dtype: torch.dtype) -> Any:
    """Products in the target's half precision, everything else in float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


class _Sums:
    """Running loss and top-1 hits per pass between two lines of the log."""

    def __init__(self) -> None:
        self.loss, self.steps = 0.0, 0
        self.hits: dict[int, list[int]] = {}

    def add(self, depth: int, hits: int, count: int) -> None:
        known = self.hits.setdefault(depth, [0, 0])
        known[0], known[1] = known[0] + hits, known[1] + count

    def take(self) -> dict[str, Any]:
        figures = {
            "loss": round(self.loss / max(1, self.steps), 4),
            "top1": [round(h / max(1, n), 3) for h, n in self.hits.values()],
        }
        self.__init__()  # type: ignore[misc]
        return figures


def _loss(
    head: EagleHead,
    batch: Batch,
    passes: int,
    teacher: torch.Tensor,
    row_of: torch.Tensor,
    generator: torch.Generator,
    sums: _Sums,
) -> torch.Tensor:
    """Cross entropy to the target, restricted to the draft vocabulary, over all passes.

    Where the target's choice is not in the vocabulary a head has nothing to learn: those rows are left
    out (as EAGLE-3 does).
    """
    total = torch.zeros((), device=batch.tokens.device)
    for part in unroll(head, batch, passes, LATER_SHARE, generator):
        wanted = row_of[part.of(batch.best)]
        inside = wanted >= 0
        hidden = part.hidden[part.counts]
        if not bool(inside.any()):
            continue
        logits = head.logits(hidden[inside])
        with torch.no_grad():
            aim = torch.nn.functional.linear(part.of(batch.final)[inside].to(teacher.dtype), teacher)
        entropy = Imitate.apply(logits, aim, wanted[inside])  # type: ignore[no-untyped-call]
        total = total + PASS_WEIGHT**part.depth * entropy / len(wanted)
        hits = logits.gather(1, wanted[inside][:, None])[:, 0] >= logits.amax(-1)
        sums.add(part.depth, int(hits.sum()), len(wanted))
    sums.loss += float(total.detach())
    sums.steps += 1
    return total


class Imitate(torch.autograd.Function):
    """Summed cross entropy of logits ``[n, v]`` to a mixture of the softmax of `aim` and the choice `wanted`.

    Its gradient is softmax minus mixture, worked out in the forward pass so that no intermediate of the
    vocabulary's size has to be kept.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, aim: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The sum over rows, float32."""
        mixture = aim.float().softmax(-1).mul_(1.0 - HARD)
        mixture.scatter_add_(1, wanted[:, None], torch.full_like(wanted, HARD, dtype=torch.float32)[:, None])
        scores = logits.float()
        log_z = scores.logsumexp(-1, keepdim=True)
        loss: torch.Tensor = log_z.sum() - torch.linalg.vecdot(mixture, scores).sum()
        ctx.save_for_backward(torch.exp(scores - log_z).sub_(mixture).to(logits.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """See `forward`."""
        (gradient,) = ctx.saved_tensors
        scaled: torch.Tensor = gradient * outer[0].to(gradient.dtype)
        return scaled, None, None


def _optimizer(head: EagleHead, config: DistillConfig) -> torch.optim.AdamW:
    matrices = [p for n, p in head.named_parameters() if p.ndim > 1 and not n.startswith("lm_head")]
    vectors = [p for p in head.parameters() if p.ndim == 1]
    rate = config.learning_rate
    groups = [
        {"params": matrices, "base": rate, "weight_decay": DECAY},
        {"params": vectors, "base": rate, "weight_decay": 0.0},
        {"params": [head.lm_head.weight], "base": rate * LM_HEAD_RATE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS)


def _rate(done: float, step: int) -> float:
    """Linear warm-up, then a cosine to `LAST_RATE`."""
    cosine = LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return cosine * min(1.0, (step + 1) / WARM_UP)


def _batches(data: Shards, which: np.ndarray, config: DistillConfig, epoch: int) -> Iterator[np.ndarray]:
    """Batches of like-long sequences, at most `batch_tokens` padded tokens each, in random order."""
    rng = np.random.default_rng([config.seed, epoch])
    lengths, out = data.lengths, []
    order = rng.permutation(which)
    for at in range(0, len(order), CHUNK):
        chunk = order[at : at + CHUNK]
        chunk = chunk[np.argsort(-lengths[chunk], kind="stable")]
        begin = 0
        while begin < len(chunk):
            count = max(1, config.batch_tokens // int(lengths[chunk[begin]]))
            out.append(chunk[begin : begin + count])
            begin += count
    yield from (out[i] for i in rng.permutation(len(out)))


def _validate(
    head: EagleHead,
    data: Shards,
    which: np.ndarray,
    config: DistillConfig,
    cast: Any,
    state: State,
    log: Callable[..., None],
) -> None:
    with cast:
        acceptance: Profile = profile(head, (data.sequence(int(i)) for i in which), config.passes)
    figures = {
        "step": state.step,
        "tokens": state.seen,
        "seconds": round(state.seconds),
        "top1": [round(v, 4) for v in acceptance.rank_share[:, 0].tolist()],
        "top4": [round(v, 4) for v in acceptance.rank_share[:, :4].sum(1).tolist()],
        "chain": [round(v, 4) for v in acceptance.chain.tolist()],
    }
    state.history.append(figures)
    log("validate", **figures)


def _save(path: Path, head: EagleHead, optimizer: torch.optim.AdamW, state: State, tokens: list[int]) -> None:
    check_finite(head, f"after step {state.step}")
    checkpoint = {
        "head": head.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": asdict(state),
        "tokens": tokens,
    }
    try:
        with replacing(path) as draft:
            torch.save(checkpoint, draft)
    except (OSError, RuntimeError) as error:
        raise DecodingError(f"cannot write {path}: {error}; free some space and start again") from error


def _restore(path: Path, head: EagleHead, optimizer: torch.optim.AdamW, tokens: list[int]) -> State:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint["tokens"] != tokens:
            raise DecodingError(
                f"{path} was begun with another draft vocabulary; delete it to train again, or use --vocabulary "
                f"{len(checkpoint['tokens'])} and the same text"
            )
        head.load_state_dict(checkpoint["head"])
        check_finite(head, f"as {path} has it; delete that file to train again")
        optimizer.load_state_dict(checkpoint["optimizer"])
        return State(**checkpoint["state"])
    except DecodingError:
        raise
    except Exception as error:
        raise DecodingError(f"{path} cannot be read ({error}); delete it to train again") from error
