"""Any drafter with lookup beside it: lookup drafts where the text repeats itself, the drafter elsewhere.

A long match is accepted more often than the tree of any drafter, costs nothing and is deeper (SAM Decoding,
arXiv 2411.10666, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from spectui.decoding.drafters.base import Drafter
from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree

COMBINED_MATCH = 2
"""Tokens that must agree before lookup is preferred to another drafter.

At the same places of text that the EAGLE-3 head was not trained on (9,900 places, eight nodes each), its tree
has 1.3 tokens accepted whatever agrees; a chain has 0.5 after one agreeing token, 1.5 after two, 2.2 after
three, 4.3 after eight, and costs no drafting. `tests.bench.profile_draft lookup` prints the same of any
drafter and prompts.
"""


class CombinedDrafter:
    """`lookup` where it has a match, `drafter` otherwise. Both observe every round.

    The choice depends on the committed text alone, so that sampling stays lossless: each tree is accepted by the rule
    that its draws require.
    """

    def __init__(self, drafter: Drafter, lookup: LookupDrafter) -> None:
        self.name = f"{drafter.name}+{lookup.name}"
        self.wants_prompt_logits = drafter.wants_prompt_logits
        self.feature_layers = drafter.feature_layers
        self._drafter, self._lookup = drafter, lookup

    @property
    def parts(self) -> tuple[Drafter, LookupDrafter]:
        """The drafter and lookup."""
        return self._drafter, self._lookup

    def use(self, shape: Shape) -> None:
        """Change the drafter's trees; the chain of lookup stays."""
        self._drafter.use(shape)

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Begin in both."""
        self._drafter.begin(prompt, scored, seed)
        self._lookup.begin(prompt, scored)

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """The chain of the match, or the drafter's tree."""
        chain = self._lookup.propose(root, max_depth)
        return chain if chain.size else self._drafter.propose(root, max_depth)

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Take note of the round in both."""
        self._drafter.observe(root, tree, scored, path, bonus)
        self._lookup.observe(root, tree, scored, path, bonus)

    def seconds_in_models(self) -> float:
        """Time spent in the drafter's forwards."""
        return self._drafter.seconds_in_models()
