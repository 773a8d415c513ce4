"""``make gpu-check``: is everything captured, right and fast on this GPU?

Sections A to I, the most important first; each line of output is a JSON object, flushed as soon as its figure is
known, so that nothing is lost when the machine goes back. No downloads: models have the shapes of Llama-2-7B,
TinyLlama-1.1B and an EAGLE-3 head, and random weights. See docs/how-to/gpu.md.
"""

import time

STARTED = time.monotonic()
"""Before anything slow was imported: a budget counts from here."""
