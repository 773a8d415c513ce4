# Every verb does its own set-up. PYTHON=... chooses the interpreter that the environment is made with.

VENV := .venv
INSTALLED := $(VENV)/.installed
SPECTUI := $(VENV)/bin/spectui

# The first of these that runs, is new enough and can make virtual environments.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$name; break; fi; done)

.PHONY: help install run test quick test-gptq gpu-check check bench fuzz soak screenshots docs

help:
	@echo "make install   virtual environment in $(VENV) with everything for development"
	@echo "make run       three prompts a task, live in the terminal (or as lines in a pipe)"
	@echo "make test      all tests"
	@echo "make quick     ruff on changed files, and the tests that take no seconds; before each commit"
	@echo "make test-gptq GPTQ loading, in an environment of its own with gptqmodel (1.6 GB)"
	@echo "make gpu-check correctness and milliseconds against the memory floor, on a CUDA machine"
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

# Each process has one thread for its models: threads of several processes fight for cores.
test: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal

CHANGED = $(shell { git diff --name-only --diff-filter=d HEAD; git ls-files --others --exclude-standard; } | grep '\.py$$')
quick: $(INSTALLED)
	@$(if $(CHANGED),$(VENV)/bin/ruff check $(CHANGED) && $(VENV)/bin/ruff format --check $(CHANGED))
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal --quick

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
