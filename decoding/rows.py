"""What is recorded of rows of logits in main memory, by numpy and on the thread that asks.

PyTorch would share such small work among threads, and a second thread that calls it starts a second set of
them. Nor is a distribution ever made: probabilities follow from the logits and the logarithm of their sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decoding.tree import FloatArray, IntArray

FloatRow = NDArray[np.float32]


@dataclass(frozen=True)
class Softmax:
    """``p = softmax(row / T)`` of one row, by what it takes to work out any of it."""

    top: float
    """The row's largest logit."""
    scale: float
    """T, and 1 for greedy decoding, which records the plain softmax."""
    log_z: float
    """Logarithm of ``sum(exp((row - top) / T))``, at least 0."""
    entropy: float
    """In nats."""

    def logprob(self, logit: float) -> float:
        """Log-probability, at most 0, of a token of that logit."""
        return (logit - self.top) / self.scale - self.log_z


def softmax(row: FloatRow, top: float, temperature: float) -> Softmax:
    """Of float32 logits ``[V]`` of which `top` is the largest; a `temperature` of 0 stands for 1.

    H = log Z - mean, where the mean of ``(row - top) / T`` under p is one dot product.
    """
    scale = temperature or 1.0
    below = row - np.float32(top)
    if scale != 1.0:
        below /= np.float32(scale)
    weight = np.exp(below)
    z = float(weight.sum())
    # Not `dot`, which a BLAS shares among threads of its own.
    mean = float(np.einsum("i,i->", weight, below)) / z
    if not math.isfinite(mean):
        # Logits of minus infinity (masked tokens): 0 * inf.
        there = weight > 0.0
        mean = float(np.einsum("i,i->", weight[there], below[there])) / z
    return Softmax(top, scale, math.log(z), max(0.0, math.log(z) - mean))


def of_children(
    rows: NDArray[np.float32],
    top: NDArray[np.float32],
    parent: IntArray,
    token: IntArray,
    temperature: float,
) -> tuple[FloatArray, FloatArray]:
    """What softmax rows say of the nodes of a tree: probability, and entropy (nats) at the parent; each ``[N]``.

    Row 0 of `rows` ``[N + 1, V]`` belongs to the root, row i + 1 to node i; `top` ``[N + 1]`` has their largest
    logits, `parent` and `token` are the nodes'. Rows without children are not looked at.
    """
    above = (parent + 1).tolist()
    laws = {row: softmax(rows[row], float(top[row]), temperature) for row in set(above)}
    likely = [
        math.exp(laws[r].logprob(float(rows[r, t]))) for r, t in zip(above, token.tolist(), strict=True)
    ]
    return np.asarray(likely), np.asarray([laws[row].entropy for row in above])
