"""Distributions to draw from and figures to record, computed from logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

LEAST = torch.finfo(torch.float32).tiny
"""Least temperature and least nucleus: smaller ones would be 0 in float32, and 0 / 0 is no probability. At it
the largest logit has all of the probability, and a nucleus is its first token."""

_NUCLEUS_GUESS = 1024
"""Most nuclei are far smaller than the vocabulary; sorting only this many is 30 times cheaper."""


def distribution(
    logits: torch.Tensor, temperature: float, top_p: float, *, wait: bool = True
) -> torch.Tensor:
    """Probabilities ``[n, V]`` of float32 `logits` ``[n, V]`` after temperature and top-p.

    Temperature 0 (greedy) gives the plain softmax, which is what is recorded then. The nucleus is the
    smallest set of most likely tokens whose mass reaches `top_p` (Holtzman et al., arXiv 1904.09751). Without
    `wait` no value is looked at, which would wait for a GPU: whole rows are sorted then.
    """
    p = tempered(logits, temperature)
    if temperature == 0.0 or top_p >= 1.0:
        return p
    top_p = max(top_p, LEAST)
    enough = False
    if wait:
        values, index = p.topk(min(_NUCLEUS_GUESS, p.shape[-1]), dim=-1)
        enough = not bool((values.sum(-1) < top_p).any())
    if not enough:
        values, index = p.sort(dim=-1, descending=True)
    before = values.cumsum(-1) - values
    nucleus = torch.zeros_like(p).scatter_(-1, index, torch.where(before < top_p, values, 0.0))
    normalised: torch.Tensor = nucleus / nucleus.sum(-1, keepdim=True)
    return normalised


def tempered(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Softmax of each row of float32 `logits` ``[n, V]`` at `temperature`; plain at 0.

    Logits are divided as distances from the row's largest: neither a small temperature nor large logits then reach the
    end of float32, where infinity less infinity is no number.
    """
    if temperature == 0.0:
        return torch.softmax(logits, dim=-1)
    below = logits - logits.amax(-1, keepdim=True)
    return torch.softmax(below.div_(max(temperature, LEAST)), dim=-1)


def entropy(
    p: torch.Tensor,
    logits: torch.Tensor,
    temperature: float,
    some_logit: Sequence[float],
    some_p: Sequence[float],
) -> list[float]:
    """Entropy in nats (n values) of ``p = distribution(logits, temperature, ...)``, both ``[n, V]``.

    `some_logit` and `some_p` are logit and probability of one likely token in each row, best of the
    likeliest. Within the nucleus log p = logits / T - log Z, so H = log Z - sum(p * logits) / T, and log Z
    comes from that token: one dot product instead of a logarithm of the vocabulary. The rest is done on
    Python's numbers: a few dozen, and less work than as many calls on arrays.
    """
    scale = temperature or 1.0
    if any(abs(logit) > _LARGE * scale for logit in some_logit):
        return _exact_entropy(p)
    rows = zip(_dots(p, logits), some_logit, some_p, strict=True)
    entropies = [
        (logit - mean) / scale - math.log(likely) if likely > 0.0 else math.nan
        for mean, logit, likely in rows
    ]
    if all(map(math.isfinite, entropies)):
        return [max(0.0, nats) for nats in entropies]
    # Logits of minus infinity (masked tokens): 0 * inf.
    return _exact_entropy(p)


_LARGE = 300.0
"""Logits beyond so many temperatures leave float32 too few digits for their differences."""


def _exact_entropy(p: torch.Tensor) -> list[float]:
    """Entropy of each row by the logarithm of the whole vocabulary."""
    nats: list[float] = torch.special.entr(p).sum(-1).tolist()
    return nats


def best_tokens(logits: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """``argmax`` of each row of float32 `logits` ``[n, V]``, the first of equals, and its logit: each ``[n]``.

    The logit of a row with NaN in it is NaN. On a CPU by numpy, whose search is vectorised where torch's is
    not, and runs on one thread: two that wait for each other at every small step cost more than they save
    as soon as anything else wants a core.
    """
    if logits.device.type == "cpu":
        rows = logits.numpy()
        best = rows.argmax(-1)
        return best, rows[np.arange(len(rows)), best]
    values, index = logits.max(-1)
    return index.cpu().numpy(), values.cpu().numpy()


def softmax_sums(logits: torch.Tensor, top: Sequence[float]) -> tuple[list[float], list[float]]:
    """Logarithm of the denominator, so that log p = logit - it, and entropy in nats of the softmax of each row of
    float32 `logits` ``[n, V]``, whose largest are `top`.

    Greedy decoding records nothing that needs more than these two. NaN for rows that are not finite numbers.
    On a CPU a few rows at a time, see `_AT_ONCE`, and on one thread, see `best_tokens`.
    """
    if logits.device.type != "cpu":
        p = torch.softmax(logits, dim=-1)
        return logits.logsumexp(-1).tolist(), torch.special.entr(p).sum(-1).tolist()
    rows, logs, nats = logits.numpy(), [], []
    step = max(1, _AT_ONCE // rows.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, 0 * inf
        for at in range(0, len(rows), step):
            part, most = rows[at : at + step], top[at : at + step]
            shift = [0.0] * len(most)
            if not all(-_PLAIN < value < _PLAIN for value in most):
                part, shift = part - np.asarray(most, dtype=np.float32)[:, None], list(most)
            e = np.exp(part)
            for row, (total, weighted) in enumerate(zip(e.sum(-1).tolist(), _row_dots(e, part), strict=True)):
                if math.isnan(weighted):  # logits of minus infinity (masked tokens)
                    finite = np.where(e[row] > 0.0, part[row], np.float32(0.0))
                    weighted = _row_dots(e[row : row + 1], finite[None])[0]
                log = math.log(total) if 0.0 < total < math.inf else math.nan
                logs.append(shift[row] + log)
                nats.append(max(0.0, log - weighted / total) if log == log else math.nan)
    return logs, nats


_AT_ONCE = 1 << 16
"""Numbers that are summed at once: few enough for a core's cache, yet several short rows, as a call behind a forward,
which has swept the caches, costs more than it computes."""
_PLAIN = 40.0
"""Rows whose largest logit is nearer to 0 need no shift: exponentials stay within float32."""
_FEW = 8
"""Up to so many of the largest are faster to search for one after the other."""
_ONE_THREAD = 1 << 15
"""Numbers up to which torch's search for the largest of several rows does not wake other threads."""


def largest(logits: torch.Tensor, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """The `k` largest of each row of float32 `logits` ``[n, V]``, best first: columns and values ``[n][k]``."""
    if logits.device.type != "cpu" or k > _FEW or logits.numel() <= _ONE_THREAD:
        values, index = logits.topk(k, dim=-1)
        return index.tolist(), values.tolist()
    remaining = logits.numpy().copy()
    rows = np.arange(len(remaining))
    columns, values_of = [], []
    for _ in range(k):
        best = remaining.argmax(-1)
        columns.append(best)
        values_of.append(remaining[rows, best])
        remaining[rows, best] = -np.inf
    return np.stack(columns, axis=1).tolist(), np.stack(values_of, axis=1).tolist()


_PART = 128
"""Terms that are summed in float32; the parts are in float64, as sums of float32 lose less the fewer there are."""


def _row_dots(a: NDArray[np.float32], b: NDArray[np.float32]) -> list[float]:
    """Dot products of the rows of two ``[n, V]``. Not `numpy.dot`, whose BLAS starts threads."""
    rows, width = a.shape
    whole = width // _PART * _PART
    # Not -1: without rows (the round without a tree) numpy could not infer the number of parts.
    x, y = (part[:, :whole].reshape(rows, whole // _PART, _PART) for part in (a, b))
    sums: NDArray[np.float64] = np.einsum("nij,nij->ni", x, y).sum(-1, dtype=np.float64)
    if whole < width:
        sums = sums + np.einsum("ni,ni->n", a[:, whole:], b[:, whole:])
    dots: list[float] = sums.tolist()
    return dots


def _dots(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Dot products of the rows of two ``[n, V]``; on a CPU on one thread, see `best_tokens`."""
    if a.device.type == "cpu":
        with np.errstate(invalid="ignore"):  # 0 * inf
            return _row_dots(a.numpy(), b.numpy())
    dots: list[float] = torch.linalg.vecdot(a, b).tolist()
    return dots


def pick(values: torch.Tensor, rows: Sequence[int], columns: Sequence[int]) -> list[float]:
    """``values[rows, columns]`` of an ``[n, V]``."""
    if values.device.type == "cpu":
        on_host: list[float] = values.numpy()[rows, columns].tolist()
        return on_host
    # With their type, as an empty list would give a tensor of floats, which is no index.
    index = tuple(torch.tensor(numbers, dtype=torch.int64) for numbers in (rows, columns))
    picked: list[float] = values[index].tolist()
    return picked


def top_tokens(logits: torch.Tensor, k: int) -> torch.Tensor:
    """The `k` most likely tokens of each row of `logits` ``[n, V]``, best first: ``[n, k]``.

    The k best entries lie in the k blocks with the largest maxima, so only those are searched: four
    times faster than ``topk`` over a vocabulary on a CPU.
    """
    rows, vocab = logits.shape
    blocks = vocab // _BLOCK
    if blocks <= k:
        return logits.topk(k, dim=-1).indices
    tail = torch.arange(blocks * _BLOCK, vocab, device=logits.device).expand(rows, -1)
    best = logits[:, : blocks * _BLOCK].reshape(rows, blocks, _BLOCK).amax(-1).topk(k, dim=-1).indices
    inside = (best[..., None] * _BLOCK + torch.arange(_BLOCK, device=logits.device)).flatten(1)
    candidates = torch.cat([inside, tail], dim=1)
    return candidates.gather(1, logits.gather(1, candidates).topk(k, dim=-1).indices)


_BLOCK = 128
