"""Surroundings and fixtures of all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slow import SLOW

# The same trees on every machine, however fast it is; the tests of measuring allow it again.
os.environ["SPECTUI_MEASURE"] = "0"
# Nobody's own settings, and nothing to be remembered of what tests do.
os.environ["SPECTUI_CONFIG"] = os.environ["SPECTUI_STATE"] = os.devnull + "/none"

# Where tests run beside each other, threads of torch would wait for each other by spinning.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


LONGEST = ("test_real_model.py", "test_distill.py")
"""Files with tests of a minute: they begin first, so that the other processes need not wait for one at the end."""


# Imports make half a million objects and no garbage: looking for some took a fifth of the time of collecting tests.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but look through no module again: also at the end, where it is looked for twice."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; all else keeps its order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: many tests wait for a terminal or another process."""
    return (os.cpu_count() or 1) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`."""
    parser.addoption("--quick", action="store_true", help="leave out the files listed in tests/slow.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow files out with `--quick`."""
    if not config.getoption("--quick"):
        return None
    folder = Path(__file__).parent
    return collection_path in {folder / name for name in SLOW} or None


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    """Restore signal handlers after each test: a process started later would inherit ignored signals."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The embedded model, fetched and converted on first use and kept in the user's cache."""
    from spectui.decoding.checkpoints import embedded

    return embedded.ensure(lambda *_: None)
