"""What a predictor would explain if its labels meant nothing: tables with permuted labels."""

from __future__ import annotations

import numpy as np

from store.report.read import Floats, Ints


def permuted_tasks(shares: Floats, task: Ints, count: int, rng: np.random.Generator) -> Floats:
    """[count, tasks, 2]: whole prompts dealt anew to the tasks, as many to each as it has.

    `shares` [prompts] is each prompt's share of matches, `task` [prompts] its task.
    """
    sizes = np.unique(task, return_counts=True)[1]
    dealt = rng.permuted(np.tile(shares, (count, 1)), axis=1)
    matches = np.add.reduceat(dealt, np.cumsum(sizes) - sizes, axis=1)
    return np.stack([sizes - matches, matches], axis=2)


def permuted_labels(
    rounds: Floats, matches: Floats, weight: Floats, count: int, rng: np.random.Generator
) -> Floats | None:
    """[count, labels, 2]: labels shuffled among the nodes of each round; None when no round has two labels.

    `rounds` [rounds, labels] counts each round's nodes, `matches` [rounds] those that match, `weight`
    [rounds] what each node counts. In a shuffled round the matches of each label are hypergeometric, and a
    table is their weighted sum over all rounds: its mean and covariance are exact, and with many rounds it
    is normal (Hajek 1960), so tables are drawn from that and no node is ever shuffled.
    """
    size = rounds.sum(axis=1)
    share = np.divide(rounds, size[:, None], out=np.zeros_like(rounds), where=size[:, None] > 0)
    spread = (
        weight**2
        * matches
        * (size - matches)
        * np.divide(size, size - 1, out=np.zeros_like(size), where=size > 1)
        / np.maximum(size, 1)
    )
    # Of a round with N nodes, n_x of a label and m matches: m (N - m) / (N - 1) (n_x / N [x = y] - n_x n_y / N^2).
    scaled = share * spread[:, None]
    covariance = np.diag(scaled.sum(axis=0)) - share.T @ scaled
    if not np.any(np.diag(covariance) > 1e-15):
        return None
    mean = (weight * matches) @ share
    total = weight @ rounds
    values, vectors = np.linalg.eigh(covariance)
    noise = rng.standard_normal((count, len(mean))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    drawn = np.clip(mean + noise, 0.0, total)
    return np.stack([total - drawn, drawn], axis=2)
