"""Protects the lean imports of a worker: what is left out is not used, and is there when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.startup import TESTED, is_tested
from tests.models import tiny_llama, tiny_tokenizer

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

LEFT_OUT = ("torch._dynamo.utils", "torch._inductor", "torch.distributed.tensor", "sympy", "scipy")
LEAN = "from spectui.decoding.startup import import_torch, import_transformers\nimport_torch()\nimport_transformers()\n"
LOADED = """
import json, sys
import torch
from pathlib import Path
from spectui.decoding.worker.choose_tree import known_costs, profile_of, with_tree
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.worker.prompt_runner import PromptRunner
decoder = SpeculativeDecoder(RunConfig(target=sys.argv[1], draft=sys.argv[1], max_new_tokens=24, tree="full:2x2"))
rounds = list(decoder.generate([3, 1, 4, 1, 5, 9]))
"""


def _python(code: str, *arguments: str) -> Any:
    """The JSON in the last line that a fresh process prints when it runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    tiny_llama(path, tokenizer=tiny_tokenizer())
    return path


def test_a_model_decodes_the_same_and_the_rest_stays_out(folder: Path) -> None:
    say = f"print(json.dumps([[r.tokens for r in rounds], [m for m in {LEFT_OUT!r} if m in sys.modules]]))"
    usual, there = _python(LOADED + say, str(folder))
    lean, still_there = _python(LEAN + LOADED + say, str(folder))
    assert lean == usual
    assert still_there == []
    assert set(there) > {"torch._dynamo.utils", "sympy"}, "else there would be nothing to leave out"


def test_the_stand_ins_are_for_the_versions_of_the_constraints() -> None:
    pinned = dict(
        line.split("==") for line in CONSTRAINTS.read_text(encoding="utf-8").split() if "==" in line
    )
    assert {name: pinned[name] for name in TESTED} == TESTED


@pytest.mark.parametrize("package", TESTED)
def test_the_stand_ins_are_for_no_other_version(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    assert is_tested()
    monkeypatch.setitem(TESTED, package, "0.0.1")
    assert not is_tested()


def test_other_versions_are_imported_plainly() -> None:
    """Their insides may have moved: nothing is replaced, and nothing of them looked into."""
    other = "from spectui.decoding import startup\nstartup.TESTED['torch'] = '0.0.1'\n"
    say = "import json, sys\nfrom spectui.decoding.startup import StandIn\n"
    say += "print(json.dumps([n for n, m in list(sys.modules.items()) if isinstance(m, StandIn)]))"
    assert _python(other + LEAN + say) == []


WANTED = (
    "import torch._dynamo.config; torch._dynamo.config.cache_size_limit",
    "from torch._dynamo import optimize",
    "torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2))",
    "import scipy.special; scipy.special.stdtrit(3, 0.5)",
    "import torch.distributed.tensor; assert torch.distributed.is_available()",
    "from torch._meta_registrations import register_meta",
    "import transformers.models.qwen2.modeling_qwen2",
    "from transformers.models import qwen3; qwen3.Qwen3Config()",
    "from transformers.models import MistralConfig; MistralConfig()",
    "from transformers import Gemma3ForCausalLM",
    "from transformers.masking_utils import TransformGetItemToIndex\nwith TransformGetItemToIndex(): pass",
)
FORKED = """
import json, os, sys, torch
failed = []
for code in json.loads(sys.argv[1]):
    child = os.fork()  # each begins with the imports above and nothing else
    if not child:
        exec(code)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(code)
print(json.dumps(failed))
"""


def test_whoever_wants_the_real_thing_gets_it() -> None:
    missing = "import no_such_module"  # that this test can fail
    assert _python(LEAN + FORKED, json.dumps([*WANTED, missing])) == [missing]


def test_a_model_whose_layout_needs_the_other_shape_rules_is_loaded_with_them(folder: Path) -> None:
    needs_them = """
    import transformers.models.llama.modeling_llama as llama
    import torch
    class Norm(llama.LlamaRMSNorm):
        def __init__(self, *a, **k):
            super().__init__(*a, **k)
            torch.cdist(torch.empty(2, 3), torch.empty(2, 3))
    llama.LlamaRMSNorm = Norm
    from pathlib import Path
    """
    code = textwrap.dedent(needs_them) + textwrap.dedent("""
    import json, sys
    from spectui.decoding.startup import add_shape_rules
    from spectui.decoding.models.loading import load_model
    from spectui.decoding.models.placement import Placement
    model = load_model(Path(sys.argv[1]), Placement(torch.device("cpu")), "auto", "", lambda *_: None)
    print(json.dumps([type(model).__name__, add_shape_rules()]))
    """)
    assert _python(LEAN + code, str(folder)) == ["LlamaForCausalLM", False]
