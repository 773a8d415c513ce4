"""Figures that the study published (arXiv 2604.14682): the only ones here that no session measured.

TinyLlama-1.1B drafting for Llama-2-7B-Chat-GPTQ, full trees of depth 3 and branching 2, greedy. Its alpha
is compared with `overlap`: with two different siblings a mean match above 1/2 is impossible.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = "arXiv 2604.14682"
DEFINITION: Final = "overlap"
"""The definition of acceptance that its alpha most plausibly is."""
ALPHA: Final = {"chat": 0.565, "math": 0.518}
EXPECTED_LENGTH: Final = {"chat": 1.065}
RHO: Final = (-0.20, -0.15)
"""Between these lies the Spearman correlation of draft entropy with acceptance, in every task, pooled."""
NODES: Final = 99_768
PROMPTS: Final = 200


def as_json() -> dict[str, object]:
    """The published figures for `report --json`."""
    return {
        "source": SOURCE,
        "definition": DEFINITION,
        "alpha": dict(ALPHA),
        "expected_length_formula": dict(EXPECTED_LENGTH),
        "rho": list(RHO),
        "nodes": NODES,
        "prompts": PROMPTS,
    }
