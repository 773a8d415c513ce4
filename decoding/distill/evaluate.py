"""Stage 4: a head's acceptance and tokens per round on questions that took no part in training, by the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.distill.initial import feature_layers
from spectui.decoding.distill.profile import Profile, profile
from spectui.decoding.distill.shards import Sequence
from spectui.decoding.drafters.registry import EAGLE, PEAGLE
from spectui.decoding.eagle.checkpoint import load_head
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.target.layer_inputs import LayerInputs
from spectui.store.files import write_text

TREES = ("chain:3", "dynamic:8x4", "dynamic:12x4")
"""Trees that every evaluation reports; 12 nodes are what the study of heads for small targets uses."""

NEW_TOKENS = 64
DEPTHS = 5


@dataclass
class Tally:
    """Rounds and tokens of some prompts under one tree."""

    rounds: int = 0
    tokens: int = 0

    def add(self, decoded: Decoded) -> None:
        """Count one output."""
        self.rounds += decoded.rounds
        self.tokens += len(decoded.tokens)

    @property
    def tau(self) -> float:
        """Tokens per round."""
        return self.tokens / max(1, self.rounds)


def evaluate(
    head: str,
    target: str,
    *,
    device: str = "auto",
    new_tokens: int = NEW_TOKENS,
    questions: list[dict[str, str]],
    trees: Iterable[str] = TREES,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Greedy decoding of `questions` (see `prompts.heldout`) with the head in folder `head` under each of `trees`.

    Returns, JSON-ready: ``tau`` by tree, overall and by task; ``depth`` (chance that the first child at
    depths 1 to 5 is accepted given that all before it were, at every position of the outputs, overall
    and by task); ``covered`` (share of the outputs' tokens in the draft vocabulary); ``identical``
    (outputs equal to plain decoding). Raises `DecodingError` for unfit heads.
    """
    config = RunConfig(target=target, draft=head, tree="chain:1", max_new_tokens=new_tokens, device=device)
    models = load_models(config, lambda stage, *_: tell(stage))
    plain = SpeculativeDecoder(config.changed(speculate=False), models=models)
    ids = [plain.encode(q["prompt"]) for q in questions]
    outputs = []
    for number, prompt in enumerate(ids, 1):
        outputs.append(decode(plain, prompt).tokens)
        tell(f"plain decoding {number}/{len(ids)}")
    names = list(dict.fromkeys(q["task"] for q in questions))
    sequences = [
        observed(models, prompt, output, names.index(q["task"]))
        for q, prompt, output in zip(questions, ids, outputs, strict=True)
    ]
    if models.kind not in (EAGLE, PEAGLE) or models.draft_folder is None:
        raise DecodingError(f"'{head}' is no EAGLE-3 head and no P-EAGLE head; give a head's folder")
    # Loaded again as it was trained: the one that decodes has a layer that can only draft.
    net = load_head(models.draft_folder, models.target)
    profiles: dict[str, Profile] = {"all": profile(net, sequences, DEPTHS)}
    for index, name in enumerate(names):
        profiles[name] = profile(net, [s for s in sequences if s.task == index], DEPTHS)
    taus: dict[str, dict[str, float]] = {}
    changed: set[int] = set()
    for tree in trees:
        decoder = SpeculativeDecoder(config.changed(tree=tree), models=models)
        tallies = {name: Tally() for name in ["all", *names]}
        for number, (question, prompt) in enumerate(zip(questions, ids, strict=True)):
            decoded = decode(decoder, prompt)
            if decoded.tokens != outputs[number]:
                changed.add(number)
            for key in ("all", question["task"]):
                tallies[key].add(decoded)
        taus[tree] = {name: round(tally.tau, 3) for name, tally in tallies.items()}
        tell(f"{tree}: {taus[tree]['all']:.2f} tokens per round")
    return {
        "head": Path(head).name,
        "questions": len(questions),
        "new_tokens": new_tokens,
        "depth": {name: [round(v, 3) for v in p.chain.tolist()] for name, p in profiles.items()},
        "top4": {
            name: [round(v, 3) for v in p.rank_share[:, :4].sum(1).tolist()] for name, p in profiles.items()
        },
        "covered": {name: round(p.covered, 4) for name, p in profiles.items()},
        "tau": taus,
        "identical": len(questions) - len(changed),
    }


def tokens_per_round(
    head: str, target: str, texts: list[str], trees: Iterable[str], *, device: str = "auto"
) -> dict[str, float]:
    """Tokens per round of the head in folder `head` on prompts of these `texts`, greedy, under each of `trees`."""
    config = RunConfig(target=target, draft=head, tree="chain:1", max_new_tokens=NEW_TOKENS, device=device)
    models = load_models(config)
    out = {}
    for tree in trees:
        decoder = SpeculativeDecoder(config.changed(tree=tree), models=models)
        tally = Tally()
        for text in texts:
            tally.add(decode(decoder, decoder.encode(text)))
        out[tree] = round(tally.tau, 3)
    return out


@dataclass
class Decoded:
    """One output and the rounds it took."""

    tokens: list[int]
    rounds: int


def decode(decoder: SpeculativeDecoder, prompt: list[int]) -> Decoded:
    """All rounds of one prompt."""
    out = Decoded([], 0)
    for round_ in decoder.generate(prompt):
        out.tokens += round_.tokens
        out.rounds += 1
    return out


@torch.inference_mode()
def observed(models: LoadedModels, prompt: list[int], output: list[int], task: int) -> Sequence:
    """The target's choices and hidden states along `prompt` and `output`, in the form of training text."""
    tokens = [*prompt, *output]
    device = models.target.device
    with LayerInputs(models.target, feature_layers(models.target)).capturing() as caught:
        decoder = models.target.get_decoder()
        final = decoder(input_ids=torch.tensor([tokens], device=device), use_cache=False).last_hidden_state[0]
    best = models.target.get_output_embeddings()(final).argmax(-1)
    return Sequence(
        number=0,
        task=task,
        answer_from=len(prompt),
        tokens=np.asarray(tokens, dtype=np.int64),
        best=best.cpu().numpy().astype(np.int64),
        features=torch.stack([states[0] for states in caught], dim=1).cpu(),
        final=final.cpu(),
    )


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = list(figures["depth"])
    lines = [
        f"{figures['questions']} held-out questions, {figures['new_tokens']} new tokens, greedy; outputs "
        f"identical to plain decoding under every tree: {figures['identical']}.",
        "",
        "| accepted given all before, at depth | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for depth in range(DEPTHS):
        cells = " | ".join(f"{figures['depth'][n][depth]:.3f}" for n in names)
        lines.append(f"| {depth + 1} | {cells} |")
    lines += ["", "| tokens per round | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for tree, row in figures["tau"].items():
        lines.append(f"| `{tree}` | " + " | ".join(f"{row[n]:.2f}" for n in names) + " |")
    covered = ", ".join(f"{name} {100 * figures['covered'][name]:.1f} %" for name in names)
    lines += ["", f"Tokens within the draft vocabulary: {covered}."]
    return "\n".join(lines)


def save(figures: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    write_text(path, json.dumps(figures, indent=1) + "\n")
