"""Every screen of the dashboard, for the tests of how it looks.

To add one, write a `Shown` into `SCREENS` of `tests/tui/screens/registry.py`: a name, its class, the data
it stands on and how to get there. It is then drawn at 80x24, 120x40 and 200x60, in four themes and with
``--ascii``, compared with ``tests/tui/screens/golden/NAME.txt``, and its colours and characters are
checked. Write the golden file with

    python -m pytest tests/tui/screens/test_screens.py -k NAME --snapshot-update

after looking at it: ``python -m tests.tui.screens.look NAME --out DIR`` exports pictures.
"""
