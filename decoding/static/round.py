"""A round on the device: draft, verify, accept, gather, and then one wait for everything that is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from decoding.acceptance import Verdict
from decoding.errors import DecodingError
from decoding.static.acceptance import Accepted, accept_greedy, accept_sampling, children_table
from decoding.static.clock import Clock
from decoding.static.draft import DeviceTree
from decoding.static.figures import distribution, fetch
from decoding.static.lm import StaticLMDrafter
from decoding.static.model import StaticModel
from decoding.tree import ancestor_mask

if TYPE_CHECKING:
    from decoding.engine import Round, SpeculativeDecoder


def static_round(
    decoder: SpeculativeDecoder, number: int, root: int, produced: int, rng: np.random.Generator
) -> Round:
    """As `SpeculativeDecoder`'s own round, for a target that is a `StaticModel`."""
    from decoding.engine import Round

    target, drafter = decoder.target, decoder.drafter
    assert isinstance(target, StaticModel)
    clock = Clock(target.device)
    start = clock.mark()
    prefix = target.length + 1
    tree = _drafted(decoder, root, target.context - prefix - 1)
    drafted = clock.mark()

    shape = tree.shape
    parent = torch.from_numpy(shape.parent).to(target.device, non_blocking=True)
    above = ancestor_mask(shape.parent)
    first = torch.full((1,), root, dtype=torch.int64, device=target.device)
    scored = target.append_tensors(torch.cat([first, tree.token]), np.concatenate([[0], shape.depth]), above)
    assert scored.logits is not None
    top, best = scored.logits.max(-1)
    finite = top.isfinite().all()
    verified = clock.mark()

    p = distribution(scored.logits, temperature=decoder.config.temperature, top_p=decoder.config.top_p)
    state = rng.bit_generator.state
    accepted = _judge(decoder, tree, parent, above, p, best, rng)
    target.keep_tensors(_slots(accepted, shape.max_depth), 0)
    found = fetch(tree, accepted, parent, p, best, finite)
    if not found.finite:
        raise DecodingError(
            f"the target's logits behind token {prefix} are not finite numbers; its weights are damaged, or "
            "--dtype is too narrow for it"
        )
    # As many numbers are drawn as on the other path, so that both go on alike.
    rng.bit_generator.state = state
    rng.random(found.draws)
    at_home, index = tree.at_home(
        np.asarray(found.token, dtype=np.int64),
        np.asarray(found.valid, dtype=np.bool_),
        found.logprob,
        found.draft_entropy,
    )
    at_home.check()
    kept = np.flatnonzero(np.asarray(found.valid, dtype=np.bool_))
    nodes = [index[node] for node, on in enumerate(found.on_path) if on]
    path, bonus, cut, finish = decoder.ended(at_home, Verdict(tuple(nodes), found.bonus), produced)
    target.commit(1 + len(path))
    if finish is None and target.length + 1 >= target.context:
        finish = "context"
    if isinstance(drafter, StaticLMDrafter):
        drafter.settle(tree, index)
    rows = torch.from_numpy(np.concatenate([[0], kept + 1])).to(target.device, non_blocking=True)
    whole = len(kept) == shape.size
    drafter.observe(root, at_home, scored if whole else scored.rows(rows), path, bonus)
    end = clock.mark()
    if target.device.type == "cuda":
        torch.cuda.synchronize(target.device)
    best_of = np.asarray(found.best)
    return Round(
        number=number,
        prefix_length=prefix,
        tree=at_home,
        path=path,
        bonus=bonus,
        cut=cut,
        finish=finish,
        target_p=np.asarray(found.target_p)[kept],
        target_entropy=np.asarray(found.target_entropy)[kept],
        match=at_home.token == best_of[shape.parent[kept] + 1],
        draft_ms=1e3 * clock.seconds(start, drafted),
        verify_ms=1e3 * clock.seconds(drafted, verified),
        other_ms=1e3 * clock.seconds(verified, end),
    )


def _drafted(decoder: SpeculativeDecoder, root: int, max_depth: int) -> DeviceTree:
    """The drafter's tree, on the device."""
    if isinstance(decoder.drafter, StaticLMDrafter):
        tree = decoder.drafter.propose_tensors(root, max_depth)
        if tree is not None:
            return tree
    grown = decoder.drafter.propose(root, max_depth=max_depth)
    grown.check()
    return DeviceTree.of(grown, decoder.target.device)


def _judge(
    decoder: SpeculativeDecoder,
    tree: DeviceTree,
    parent: torch.Tensor,
    above: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    p: torch.Tensor,
    best: torch.Tensor,
    rng: np.random.Generator,
) -> Accepted:
    device, shape = p.device, tree.shape
    if decoder.config.greedy:
        ancestors = torch.from_numpy(above[1:, 1:]).to(device, non_blocking=True)
        return accept_greedy(tree.token, parent, ancestors, tree.valid, best)
    width = max(shape.width, 1)
    table = torch.as_tensor(children_table(shape.parent, shape.size + 1, width)).to(device, non_blocking=True)
    uniforms = torch.from_numpy(rng.random(shape.size + 1)).to(device, non_blocking=True)
    return accept_sampling(tree.token, table, tree.valid, p, tree.rows, uniforms, shape.max_depth)


def _slots(accepted: Accepted, depth: int) -> torch.Tensor:
    """Where the path lies in the cache, the root first, ``[depth + 1]``; behind it slots stay as they are."""
    size = len(accepted.on_path)
    place = torch.arange(depth + 1, device=accepted.on_path.device)
    if not size:
        return place
    order = torch.where(accepted.on_path, torch.arange(1, size + 1, device=place.device), size + 1)
    order = order.sort().values[:depth]
    return torch.cat([place[:1], torch.where(order <= size, order, place[1:])])
