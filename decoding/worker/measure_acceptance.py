"""Measurement of a draft model's acceptance where none came with it: a few seconds at the first start with a pair.

The target continues some bundled prompts, and the draft reads them: the rank that it gave each of the target's tokens
says what any tree would have been accepted there. Kept in the cache folder under the files of both models.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.device.switch import language_model
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.files import cache_folder
from spectui.decoding.models.fingerprint import model_files
from spectui.decoding.models.load import LoadedModels, Progress
from spectui.decoding.trees.profile import PROFILE_FILE, AcceptanceProfile
from spectui.store.files import write_text

STAGE = "measuring what the draft's tokens bring"

TOKENS = 64
"""Output tokens of each prompt; one prompt of each task."""
SECONDS = 6.0
"""After so long no further prompt is begun, and that at work ends with its `LEAST_TOKENS`."""
LEAST_TOKENS = 16
RANKS = 8
LEAST_AT_RISK = 20
"""Depths that fewer rounds reach are taken to be like those before them."""

log = logging.getLogger("spectui.costs")


def measured_profile(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None
) -> AcceptanceProfile | None:
    """The acceptance of a draft model on its target's greedy text: kept, or measured now. None where no prompt fits."""
    folder = _folder(config)
    kept = None if folder is None else AcceptanceProfile.read(folder)
    if kept is not None:
        return kept
    texts = list(_ranks(config, models, progress or (lambda *_: None)))
    if not texts:
        return None
    profile = profile_of_ranks(texts)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / PROFILE_FILE, json.dumps({"rank_share": profile.hits}))
        except OSError as error:
            log.warning("the draft's acceptance cannot be kept in %s: %s", folder, error)
    return profile


def profile_of_ranks(texts: Sequence[Sequence[int]]) -> AcceptanceProfile:
    """The profile of a drafter that gave the tokens of each text these ranks, 0 for its best.

    A round goes on from depth to depth as long as its token is the best; the next begins behind the first that is not.
    """
    reached, hits = Counter[int](), dict[int, Counter[int]]()
    for ranks in texts:
        depth = 0
        for rank in ranks:
            reached[depth] += 1
            hits.setdefault(depth, Counter())[rank] += 1
            depth = depth + 1 if rank == 0 else 0
    depths = [depth for depth in sorted(reached) if depth == 0 or reached[depth] >= LEAST_AT_RISK]
    return AcceptanceProfile(
        tuple(tuple(hits[depth][rank] / reached[depth] for rank in range(RANKS)) for depth in depths)
    )


@torch.inference_mode()
def _ranks(config: RunConfig, models: LoadedModels, tell: Progress) -> Iterator[list[int]]:
    """The draft's ranks of the target's tokens, text by text, on the path that rounds take."""
    greedy = config.changed(
        draft=config.base_draft,
        tree=models.drafter_kind(config).default_tree,
        temperature=0.0,
        max_new_tokens=TOKENS,
    )
    decoder, draft = SpeculativeDecoder(greedy, models=models), language_model(models.draft)
    began = time.perf_counter()
    chosen = prompts.bundled(per_task=1)
    for done, prompt in enumerate(chosen):
        if done and time.perf_counter() - began > SECONDS:
            return
        tell(STAGE, float(done), float(len(chosen)), "prompts")
        ids = decoder.encode(prompt.text)
        if len(ids) + 2 > min(decoder.target.context, draft.context) or max(ids) >= draft.rows:
            continue
        output: list[int] = []
        for round_ in decoder.generate(ids, position=done):
            output += round_.tokens
            if len(output) >= LEAST_TOKENS and time.perf_counter() - began > SECONDS:
                break
        fed = [*itertools.takewhile(lambda token: token < draft.rows, output)][: draft.context - len(ids)]
        draft.reset()
        draft.prefill(ids[:-1])
        logits = draft.prefill([ids[-1], *fed[:-1]], all_logits=True).logits
        assert logits is not None
        columns = torch.tensor(fed, device=logits.device)[:, None]
        if len(fed) and max(fed) < logits.shape[1]:
            yield (logits > logits.gather(1, columns)).sum(1).tolist()


def _folder(config: RunConfig) -> Path | None:
    """The folder of a pair's profile; None where its models have no files."""
    try:
        files = model_files(config)
    except OSError:
        return None
    if not files.get("target") or not files.get("draft"):
        return None
    key = json.dumps(files, sort_keys=True).encode()
    return cache_folder() / "acceptance" / hashlib.sha256(key).hexdigest()[:16]
