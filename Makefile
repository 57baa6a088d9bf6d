# `make classify [MUSIC=path]` and `make test` do it all; `make help` lists the rest. Each target sets
# up what it needs on a fresh machine; a second call starts at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# An environment with the base install alone; make test-fast BASE=.venv-3.13 PYTHON=python3.13
BASE ?= .venv-base
MUSIC ?=
# As it was typed, also with quotes and dollar signs.
export MUSIC_AS_TYPED := $(value MUSIC)
WORKERS ?= 2
PIP := -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help classify test test-fast lint speed docs notebooks package clean

help:
	@echo "make classify MUSIC=path  name the genre of every file in a folder"
	@echo "make test                 lint, types and all tests"
	@echo "make test-fast            tests of the base install alone, in $(BASE)"
	@echo "make lint                 ruff, mypy, import directions, workflows, containers"
	@echo "make speed                compare decoding and classifying with ffmpeg; only warns"
	@echo "make docs                 the documentation site, in site/"
	@echo "make notebooks            execute the notebooks in docs/notebooks and store their output"
	@echo "make package              wheel and sdist, in dist/"
	@echo "make clean                remove all of these"

classify: $(VENV)/.base
ifeq ($(value MUSIC),)
	@test -f examples/offbeat-organ.flac || $(BIN)/genrescope examples examples > /dev/null 2>&1 \
		|| $(BIN)/genrescope examples examples
	@echo "No MUSIC=path given: these are synthetic clips, no measure of accuracy." >&2
	@$(BIN)/genrescope classify examples
	@echo "Next: make classify MUSIC=~/Music, or $(BIN)/genrescope --help" >&2
	@echo "A model of 19 genres, with styles and instruments (4 MB): $(BIN)/genrescope models fetch audioset" >&2
else
# Exit code 1 says that some files failed, which are listed; the rest is done.
	@$(BIN)/genrescope classify "$$MUSIC_AS_TYPED" || test $$? -eq 1
endif

test: $(VENV)/.dev lint
	GENRESCOPE_TESTS=all $(BIN)/pytest -n $(WORKERS)

test-fast: $(BASE)/.test
	$(BASE)/bin/pytest -n $(WORKERS) -m "not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/hadolint Dockerfile
	$(BIN)/python tools/actionlint.py

speed: $(VENV)/.base
	$(BIN)/python benchmarks/formats.py --check

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

notebooks: $(VENV)/.dev
	$(BIN)/python tools/notebooks.py

package: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

# What is imported at every start is compiled once, here.
$(VENV)/.base: pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Setting up in $(VENV) ..." >&2
	@$(BIN)/python $(PIP) -e .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src > /dev/null || true
	@touch $@

# torch is asked for by its exact version first, so that a build for processors that lies at hand is
# taken; the newest build for graphics cards would be several gigabytes.
$(VENV)/.dev: $(VENV)/.base
	@echo "Setting up what the tests need ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python $(PIP) -e '.[dev]'
	@$(BIN)/python tools/actionlint.py --install
# The check of the page for accessibility; its tests skip where npm can't fetch it.
	@npm install --silent --no-save --prefix $(VENV)/npm axe-core@4 > /dev/null 2>&1 || true
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
	@touch $@

$(BASE)/.test: pyproject.toml constraints.txt
	@test -d $(BASE) || $(PYTHON) -m venv $(BASE)
	@echo "Setting up the base install in $(BASE) ..." >&2
	@$(BASE)/bin/python $(PIP) -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(BASE) examples build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache
