# Two commands do it all: `make classify [MUSIC=path]` and `make test`. Each sets itself up in .venv
# on a fresh machine; a second call starts at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
MUSIC ?=
WORKERS ?= 2

.PHONY: classify test lint clean

classify: $(VENV)/.base
ifeq ($(MUSIC),)
	@test -f examples/offbeat-organ.flac || $(BIN)/genrescope examples examples > /dev/null
	@echo "No MUSIC=path given: these are synthetic clips, no measure of accuracy." >&2
	@$(BIN)/genrescope classify examples
else
	@$(BIN)/genrescope classify "$(MUSIC)"
endif

test: $(VENV)/.dev lint
	$(BIN)/pytest -n $(WORKERS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is imported at every start is compiled once, here.
$(VENV)/.base: pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Setting up in $(VENV) ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src > /dev/null || true
	@touch $@

# torch is asked for by its exact version first, so that a build for processors that lies at hand is
# taken; the newest build for graphics cards would be several gigabytes.
$(VENV)/.dev: $(VENV)/.base
	@echo "Setting up what the tests need ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
	@touch $@

clean:
	rm -rf $(VENV) examples build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
