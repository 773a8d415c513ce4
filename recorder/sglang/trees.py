"""Whole trees and their verdicts, from the function that verifies them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spectui.recorder.figures import Later, is_capturing, on_device
from spectui.recorder.rows import ANOTHER, OF_ARGMAX, THE_DRAFT
from spectui.recorder.sglang.batches import records_here
from spectui.recorder.sink import Sink
from spectui.recorder.words import clean, figures

if TYPE_CHECKING:
    import torch


def parents(first_child: Sequence[int], next_sibling: Sequence[int]) -> list[int]:
    """The parent of each node, -1 of the root and of nodes outside the tree."""
    above = [-1] * len(first_child)
    for node, child in enumerate(first_child):
        seen = 0
        while child >= 0 and seen < len(above):
            above[child] = node
            child = next_sibling[child]
            seen += 1
    return above


class Trees:
    """Sees the logits of every node before the verdict, which changes them, and the path after it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.part = sink.part("target")

    def before(
        self, verify_input: Any, batch: Any, logits_output: Any, *args: object, **kwargs: object
    ) -> Any:
        """Names and places of requests, and tensors of them: structure, and figures of each node's row."""
        import torch

        logits = logits_output.next_token_logits
        if batch.forward_mode.is_idle() or is_capturing(logits) or not records_here(self._sink):
            return None
        settings = self._sink.settings
        names = [request.rid for request in batch.reqs]
        chosen = [place for place, name in enumerate(names) if settings.chooses(name)]
        if not chosen:
            return None
        width = verify_input.draft_token_num
        places = on_device(chosen, logits.device)
        tokens = verify_input.draft_token.view(-1, width)[places]
        structure = torch.stack([
            tokens.long(),
            verify_input.positions.view(-1, width)[places].long(),
            verify_input.retrieve_next_token[places].long(),
            verify_input.retrieve_next_sibling[places].long(),
        ])  # fmt: skip
        rows = (
            _of_nodes(logits, verify_input.retrieve_index[places], tokens, settings)
            if settings.target
            else None
        )
        return [names[place] for place in chosen], places, structure, rows

    def after(self, seen: Any, result: Any, *args: object, **kwargs: object) -> None:
        """Have the verdicts written."""
        names, places, structure, rows = seen
        predict, accept_lens, accept_index = result
        path = accept_index[places].long()
        sampled = predict.flatten()[path.clamp(min=0)]
        others = [] if rows is None else [rows]
        later = Later(structure, path, sampled, accept_lens[places].clone(), *others)
        self._sink.put(self.part, lambda: self._row(names, *later.get()))

    def _row(
        self,
        names: list[str],
        structure: list[list[list[int]]],
        paths: list[list[int]],
        sampled: list[list[int]],
        lengths: list[int],
        rows: list[list[list[float]]] | None = None,
    ) -> list[Any]:
        verdicts = []
        for place, name in enumerate(names):
            tokens, positions, first_child, next_sibling = (part[place] for part in structure)
            above = parents(first_child, next_sibling)
            nodes = [node for node in range(1, len(tokens)) if above[node] >= 0]
            number = {0: -1} | {node: index for index, node in enumerate(nodes)}
            drafts = [tokens[node] for node in nodes]
            of_parent = None if rows is None else [rows[place][above[node]] for node in nodes]
            argmax = None if of_parent is None else [int(row[0]) for row in of_parent]
            committed = sampled[place][: lengths[place]]
            if not self._sink.settings.ids:
                pairs = zip(argmax or (), drafts, strict=False)
                argmax = argmax and [THE_DRAFT if one == draft else OF_ARGMAX for one, draft in pairs]
                drafts, committed = [THE_DRAFT] * len(drafts), [THE_DRAFT] * (len(committed) - 1) + [ANOTHER]
            entropy = of_parent if self._sink.settings.entropy else None
            verdicts.append([
                clean(name),
                positions[0] + 1,
                drafts,
                committed,
                of_parent and figures(row[3 + node] for row, node in zip(of_parent, nodes, strict=True)),
                argmax,
                of_parent and figures(row[1] for row in of_parent),
                entropy and figures(row[2] for row in entropy),
                None,
                None,
                [number[above[node]] for node in nodes],
                [number[node % len(tokens)] for node in paths[place][1 : lengths[place]]],
            ])  # fmt: skip
        return ["verify", verdicts]


def _of_nodes(logits: torch.Tensor, index: torch.Tensor, tokens: torch.Tensor, settings: Any) -> torch.Tensor:
    """For each node's row: the likeliest token, its probability, the entropy, and the probability of each node's token.

    [requests, nodes, 3 + nodes]: a node's parent is known on the host alone, which then chooses.
    """
    import torch

    made = []
    for rows, candidates in zip(index.long(), tokens.long(), strict=True):
        shifted = logits[rows].float()
        top, best = shifted.max(-1)
        shifted -= top[:, None]
        exponents = shifted.exp()
        log_sum = exponents.sum(-1).log()
        of_tokens = (shifted[:, candidates.clamp(0, logits.shape[-1] - 1)] - log_sum[:, None]).exp()
        entropy = torch.zeros_like(log_sum)
        if settings.entropy:
            entropy = log_sum - exponents.mul_(shifted.clamp_(min=-1e30)).sum(-1) / log_sum.exp()
        made.append(torch.cat([torch.stack([best.float(), (-log_sum).exp(), entropy], 1), of_tokens], 1))
    return torch.stack(made)
