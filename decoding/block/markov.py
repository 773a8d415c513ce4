"""The heads of DSpark: what a block predicts at a position, moved by the token before it, and how sure that is."""

from __future__ import annotations

import torch
from torch import nn

TYPES = ("vanilla", "gated", "rnn")


class MarkovHead(nn.Module):
    """Numbers to add to a block's logits, of rank R; `kind` is one of `TYPES`. H is the width of a block's states."""

    def __init__(self, kind: str, vocab: int, draft_vocab: int, rank: int, width: int) -> None:
        super().__init__()
        self.kind, self.rank = kind, rank
        self.markov_w1 = nn.Embedding(vocab, rank)
        self.markov_w2 = nn.Linear(rank, draft_vocab, bias=False)
        self.gate_proj = nn.Linear(width + rank, rank) if kind == "gated" else None
        self.joint_proj = nn.Linear(width + 2 * rank, 3 * rank) if kind == "rnn" else None

    def forward(
        self, before: torch.Tensor, states: torch.Tensor, memory: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers to add to the logits ``[n, Vd]``, and the new memory ``[n, R]`` of each path.

        `before` ``[n]`` are the target's tokens before the predicted ones, `states` ``[n, H]`` the block's states
        of those, `memory` ``[n, R]`` that of the paths so far, zeros at first.
        """
        token = self.markov_w1(before)
        if self.gate_proj is not None:
            token = torch.sigmoid(self.gate_proj(torch.cat([states, token], dim=-1))) * token
        if self.joint_proj is not None:
            gate, candidate, out = self.joint_proj(torch.cat([memory, token, states], dim=-1)).chunk(
                3, dim=-1
            )
            gate = torch.sigmoid(gate)
            memory = gate * memory + (1.0 - gate) * torch.tanh(candidate)
            token = torch.tanh(out)
        return self.markov_w2(token).float(), memory


class ConfidenceHead(nn.Module):
    """An estimate that a drafted token is accepted, given those before it. H is the width of a block's states, R the
    Markov head's rank, 0 where the token before is not read."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.proj = nn.Linear(width + rank, 1)

    def forward(self, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Chances ``[n]`` of `states` ``[n, H]`` and of the tokens before, embedded by the Markov head, ``[n, R]``."""
        read = torch.cat([states, before], dim=-1) if self.rank else states
        out: torch.Tensor = torch.sigmoid(self.proj(read).float())
        return out.squeeze(-1)
