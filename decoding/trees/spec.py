"""Names of trees, as ``--tree`` takes them: ``full:3x2``, ``chain:5``, ``dynamic:8x4`` and others. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from spectui.decoding.errors import UsageError
from spectui.decoding.trees.limits import MAX_BRANCHING, MAX_DEPTH, MAX_NODES
from spectui.decoding.trees.shape import ROOT, DynamicShape, Shape, TreeShape

RECYCLING_WIDTH = 8
"""Successors kept per token by Token Recycling, hence its widest fan-out."""

_RANK_DIGITS = "0123456789abcdefghijklmnopqrstuv"


def parse_tree(spec: str) -> Shape:
    """The tree that a ``--tree`` argument names: ``dynamic:NxD`` (nodes x depth), or what `parse_shape` reads.

    ``dynamic:L-NxD@F/S`` stops by itself, and so does either with ``~C``: see `DynamicShape` for `least`, `floor`,
    `stop` and `confidence`.
    Raises `UsageError` with what is accepted.
    """
    kind, _, rest = spec.partition(":")
    if kind != "dynamic":
        return parse_shape(spec)
    rest, _, confidence = rest.partition("~")
    extent, _, rule = rest.partition("@")
    nodes, _, depth = extent.partition("x")
    least, dash, most = nodes.partition("-")
    floor, _, stop = rule.partition("/")
    try:
        sure = float(confidence) if "~" in spec else None
        if not dash and not rule:
            return dynamic_shape(int(nodes), int(depth), confidence=sure)
        return dynamic_shape(int(most), int(depth), int(least), float(floor), float(stop or 0), sure)
    except ValueError:
        raise UsageError(_unreadable(spec)) from None


def parse_shape(spec: str) -> TreeShape:
    """The static tree that a ``--tree`` argument names.

    ``full:DxB`` (depth x branching), ``chain:N``, ``recycling:N`` (nodes), ``paths:...`` (see
    `paths_spec`), or a JSON file: either a list of rank paths (``[[0], [1], [0, 0]]``) or an object
    with ``paths`` or ``parents``.
    Raises `UsageError` with what is accepted.
    """
    kind, _, rest = spec.partition(":")
    try:
        if kind == "full":
            depth, _, branching = rest.partition("x")
            return full_shape(int(depth), int(branching))
        if kind == "chain":
            return chain_shape(int(rest))
        if kind == "recycling":
            return recycling_shape(int(rest))
        if kind == "paths":
            return _shape_from_spec(spec, rest)
    except ValueError:
        raise UsageError(_unreadable(spec)) from None
    if spec.endswith(".json"):
        return _shape_from_file(Path(spec))
    raise UsageError(_unreadable(spec))


def full_shape(depth: int, branching: int) -> TreeShape:
    """The full tree, ``branching + branching^2 + ... + branching^depth`` nodes, level by level."""
    name = f"full:{depth}x{branching}"
    _check_range(name, "depth", depth, MAX_DEPTH)
    _check_range(name, "branching", branching, MAX_BRANCHING)
    parents: list[int] = []
    frontier = [ROOT]
    for _ in range(depth):
        if len(parents) + len(frontier) * branching > MAX_NODES:
            raise UsageError(
                f"tree '{name}' has more than {MAX_NODES} nodes; lower the depth or the branching"
            )
        start = len(parents)
        parents += [p for p in frontier for _ in range(branching)]
        frontier = list(range(start, len(parents)))
    return TreeShape.from_parents(name, parents)


def chain_shape(length: int) -> TreeShape:
    """A path of `length` nodes."""
    _check_range(f"chain:{length}", "length", length, MAX_DEPTH)
    return TreeShape.from_parents(f"chain:{length}", list(range(-1, length - 1)))


def recycling_shape(nodes: int) -> TreeShape:
    """The static tree of Token Recycling cut to `nodes` nodes.

    A node of rank path r_1..r_d is worth the product of c(r), the share of rounds in which the rank-r successor is
    accepted. On the bundled prompts that share falls like ``0.40 * (r + 1)^-2`` at every depth
    (`tests/bench/profile_draft.py` prints it), and the best `nodes` paths are kept, which is optimal
    for independent acceptances (Sequoia, arXiv 2402.12374, section 3).
    """
    name = f"recycling:{nodes}"
    _check_range(name, "number of nodes", nodes, MAX_NODES)
    worth: dict[tuple[int, ...], float] = {(): 1.0}
    chosen: list[tuple[int, ...]] = []
    share = [0.40 / (rank + 1) ** 2 for rank in range(RECYCLING_WIDTH)]
    frontier: list[tuple[float, int, tuple[int, ...]]] = [(-share[0], 1, (0,))]
    while len(chosen) < nodes:
        frontier.sort()
        score, depth, path = frontier.pop(0)
        chosen.append(path)
        worth[path] = -score
        if depth < MAX_DEPTH:
            frontier.append((score * share[0], depth + 1, (*path, 0)))
        sibling = (*path[:-1], path[-1] + 1)
        if sibling[-1] < RECYCLING_WIDTH:
            frontier.append((-worth[path[:-1]] * share[sibling[-1]], depth, sibling))
    return TreeShape.from_paths(name, chosen)


def dynamic_shape(
    nodes: int,
    depth: int,
    least: int | None = None,
    floor: float = 0.0,
    stop: float = 0.0,
    confidence: float | None = None,
) -> DynamicShape:
    """The dynamic tree of at most `nodes` nodes, at most `depth` deep; `least` makes one that stops by itself,
    `confidence` one that ends where the draft expects it to."""
    if least is None:
        name = f"dynamic:{nodes}x{depth}"
    else:
        name = f"dynamic:{least}-{nodes}x{depth}@{floor:g}/{stop:g}"
        _check_range(name, "least number of nodes", least, nodes)
        if not (0.0 <= floor <= 1.0 and 0.0 <= stop <= MAX_NODES):
            raise UsageError(f"tree '{name}': the probability behind @ must be between 0 and 1")
    if confidence is not None:
        name += f"~{confidence:g}"
        if not 0.0 < confidence <= 1.0:
            raise UsageError(f"tree '{name}': the confidence behind ~ must be above 0 and at most 1")
    _check_range(name, "number of nodes", nodes, MAX_NODES)
    _check_range(name, "depth", depth, MAX_DEPTH)
    return DynamicShape(name, nodes, depth, nodes if least is None else least, floor, stop, confidence or 0.0)


def trimmed_spec(spec: str, depth: int) -> str:
    """The name of the tree that `spec` names without the nodes deeper than `depth`; a dynamic tree is as deep as its
    draft lets it be, and keeps its name."""
    shape = parse_tree(spec)
    if isinstance(shape, DynamicShape) or shape.max_depth <= depth:
        return spec
    trimmed = shape.trimmed(depth)
    return chain_shape(depth).name if trimmed.width == 1 else paths_spec(trimmed.paths())


def paths_spec(paths: Iterable[Sequence[int]]) -> str:
    """The ``paths:`` name of a tree: its rank paths without those that others imply.

    A rank is a digit of base 32 (there are never more siblings), and a path implies its ancestors and
    siblings of lower rank: ``paths:000,1`` is the tree ``[[0], [1], [0, 0], [0, 0, 0]]``.
    """
    all_of = {tuple(path) for path in paths}
    implied = {path[:-1] for path in all_of}
    implied |= {(*path[:-1], path[-1] - 1) for path in all_of}
    named = sorted(all_of - implied)
    return "paths:" + ",".join("".join(_RANK_DIGITS[rank] for rank in path) for path in named)


def static_only(shape: Shape, drafter: str) -> TreeShape:
    """`shape` for a drafter without probabilities. Raises `UsageError` for a dynamic tree."""
    if isinstance(shape, DynamicShape):
        raise UsageError(
            f"tree '{shape.name}' is chosen by the draft's probabilities, and {drafter} has none; "
            "use a static tree such as recycling:8 or chain:5, or another --draft"
        )
    return shape


def chain_only(shape: Shape, drafter: str) -> TreeShape:
    """`shape` for a drafter that knows one continuation. Raises `UsageError` for a tree that branches."""
    static = static_only(shape, drafter)
    if static.width > 1:
        raise UsageError(f"tree '{shape.name}' branches; {drafter} drafts a chain, such as chain:8")
    return static


def _shape_from_spec(spec: str, rest: str) -> TreeShape:
    """The inverse of `paths_spec`. Raises `ValueError` for anything but digits."""
    paths: set[tuple[int, ...]] = set()
    for text in rest.split(","):
        if not text.strip():
            raise ValueError(spec)
        path = tuple(int(digit, MAX_BRANCHING) for digit in text.strip()[: MAX_DEPTH + 1])
        for length in range(1, len(path) + 1):
            paths |= {(*path[: length - 1], rank) for rank in range(path[length - 1] + 1)}
    shape = TreeShape.from_paths(paths_spec(paths), list(paths))
    _check_extent(f"tree '{spec}'", shape)
    return shape


def _shape_from_file(path: Path) -> TreeShape:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"tree file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"tree file {path} is not JSON that spectui reads: {error}") from error
    if isinstance(data, dict) and _is_ints(data.get("parents")):
        shape = TreeShape.from_parents(str(path), data["parents"])
    else:
        paths = data.get("paths") if isinstance(data, dict) else data
        if not isinstance(paths, list) or not all(_is_ints(p) for p in paths):
            raise UsageError(f"tree file {path}: expected a list of rank paths such as [[0], [1], [0, 0]]")
        shape = TreeShape.from_paths(str(path), paths)
    _check_extent(f"tree file {path}", shape)
    return shape


def _check_extent(what: str, shape: TreeShape) -> None:
    if not 1 <= shape.size <= MAX_NODES or shape.max_depth > MAX_DEPTH:
        raise UsageError(f"{what}: give 1 to {MAX_NODES} nodes, at most {MAX_DEPTH} deep")


def _is_ints(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)


def _check_range(name: str, what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"tree '{name}': {what} must be between 1 and {most}")


def _unreadable(spec: str) -> str:
    return (
        f"tree '{spec}' is not understood; use dynamic:8x4, full:3x2, chain:5, recycling:8 or a .json file "
        "of rank paths"
    )
