"""The toy's entry for `decoding.drafters.registry.KINDS`; tests register it for as long as they run."""

from __future__ import annotations

from spectui.decoding.drafters.kind import DrafterKind

TOY = DrafterKind(
    name="toy",
    help="repeats what followed each token the last time",
    default_tree="chain:3",
    build="tests.decoding.drafters.toy:ToyDrafter",
    probabilities=False,
    chains_only=True,
)
