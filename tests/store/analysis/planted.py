"""Sessions with a known truth, made as the columns that a report reads: no database, no model.

Trees are chains, so that every node is drawn by itself: what is alike within a prompt is what was planted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.reading.columns import Floats, Ints
from spectui.store.rows import GenerationRow, SessionSummary

DEPTH = 3


def planted(
    tasks: Mapping[str, float],
    *,
    prompts: int | Sequence[int] = 12,
    rounds: int = 20,
    icc: float = 0.0,
    depth_effect: float = 0.0,
    entropy_effect: float = 0.0,
    drafted: bool = True,
    seed: int = 0,
) -> Measured:
    """Chains of three nodes whose chance to match is the task's, the prompt's and the depth's.

    `tasks` gives each task's mean chance; a prompt's own is drawn around it from the beta distribution whose
    intra-class correlation is `icc`, so that the variance between prompts is icc * mean * (1 - mean). A depth d
    adds (2 - d) * `depth_effect`, and a draft entropy above its median takes `entropy_effect` off, below it
    adds as much. `prompts` of each task, `rounds` of each prompt.
    """
    rng = np.random.default_rng(seed)
    counts = [prompts] * len(tasks) if isinstance(prompts, int) else list(prompts)
    task_of = [name for name, count in zip(tasks, counts, strict=True) for _ in range(count)]
    prompt_chance = np.array([_chance(tasks[name], icc, rng) for name in task_of])
    round_prompt = np.repeat(np.arange(len(prompt_chance)), rounds)
    node_round = np.repeat(np.arange(len(round_prompt)), DEPTH)
    depth = np.tile(np.arange(1, DEPTH + 1), len(round_prompt))
    entropy = 4 * rng.random(len(depth))
    chance = prompt_chance[round_prompt[node_round]] + (2 - depth) * depth_effect
    chance += np.where(entropy > 2, -entropy_effect, entropy_effect)
    match = rng.random(len(depth)) < chance
    return measured(task_of, round_prompt, node_round, depth, match, entropy, drafted=drafted, rng=rng)


def measured(
    task_of: Sequence[str],
    round_prompt: Ints,
    node_round: Ints,
    depth: Ints,
    match: np.typing.NDArray[np.bool_],
    entropy: Floats,
    *,
    drafted: bool,
    rng: np.random.Generator,
) -> Measured:
    """Columns of chains, greedy: a node is accepted while all of its round's nodes so far match."""
    accepted = np.cumprod(match.reshape(-1, DEPTH), axis=1).astype(np.bool_)
    on_path = np.concatenate([np.ones((len(accepted), 1), np.bool_), accepted[:, :-1]], axis=1).ravel()
    length = accepted.sum(axis=1)
    unknown = np.full(len(depth), np.nan)
    q = rng.random(len(depth)) * 0.9 + 0.05
    return Measured(
        summary=summary_of(task_of, len(round_prompt), len(depth)),
        prompts=tuple(prompt_of(index, task) for index, task in enumerate(task_of)),
        round_prompt=round_prompt,
        accepted_length=length,
        tokens=length + 1,
        node_round=node_round,
        family=np.arange(len(depth)),
        depth=depth,
        rank=np.zeros(len(depth), dtype=np.int64),
        draft_p=q if drafted else unknown,
        overlap=np.minimum(1.0, rng.random(len(depth)) / q) if drafted else unknown,
        draft_entropy=entropy if drafted else unknown,
        target_entropy=3 * rng.random(len(depth)),
        match=match,
        accepted=accepted.ravel(),
        on_path=on_path,
        at_risk=on_path,
    )


def summary_of(task_of: Sequence[str], rounds: int, nodes: int) -> SessionSummary:
    """A finished session; what a report does not read is empty."""
    return SessionSummary(
        id=1, name="planted", status="finished", recorded_status="finished", stage="", stage_done=None,
        stage_total=None, stage_unit="", pid=None, pid_created=None, host="", heartbeat_at=None,
        created_at="2026-03-01T10:00:00+00:00", started_at=None, ended_at=None, config={}, target="target",
        drafter="drafter", tree="chain:3", device="cpu", tokenizer_id="", versions={}, notes="", tags=(),
        error=None, prompt_count=len(task_of), baseline_ms=None, cpu_percent=None, rss_bytes=None, gpu=None,
        log_path="", prompts_done=len(task_of), tokens=0, rounds=rounds, nodes=nodes, draft_ms=0.0,
        verify_ms=0.0, other_ms=0.0, tasks={task: task_of.count(task) for task in task_of}, match_rate=None,
        accepted_at_risk=None, mean_accepted_length=None, tokens_per_round=None,
    )  # fmt: skip


def prompt_of(index: int, task: str) -> GenerationRow:
    """A finished prompt with a text of its own."""
    return GenerationRow(
        id=index + 1, session_id=1, position=index, prompt_id=f"{task}-{index}", task=task,
        prompt_text=f"prompt {index}", status="finished", output="", error=None, finish_reason="eos",
        prompt_tokens=10, token_count=0, round_count=1, node_count=0, match_count=0, accepted_count=0,
        at_risk_count=0, overlap_sum=0.0, overlap_count=0, unjudged_count=0, draft_ms=0.0, verify_ms=0.0, other_ms=0.0,
        started_at=None, ended_at=None,
    )  # fmt: skip


def _chance(mean: float, icc: float, rng: np.random.Generator) -> float:
    if icc == 0:
        return mean
    strength = 1 / icc - 1
    return float(rng.beta(mean * strength, (1 - mean) * strength))
