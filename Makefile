# A clone needs python3, pip and make; every target brings the rest into .venv, once.

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# The first of these that is new enough; `make test PYTHON=/path/to/python3.12` names another.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

.PHONY: help demo test lint bench lab clean chromium
# Two pips at once in one environment would spoil it.
.NOTPARALLEL:

help:
	@echo "make demo   show what orchkit does, in the terminal"
	@echo "make test   run the tests, and all notebooks"
	@echo "make lint   check style, types and the direction of imports"
	@echo "make bench  measure orchkit beside its peers"
	@echo "make lab    open the notebooks in JupyterLab"
	@echo "make clean  remove .venv, caches and build results"

demo: $(VENV)/ready-demo
	@$(BIN)/orchkit demo

test: $(VENV)/ready-test chromium
	@echo "==> tests"
	@$(BIN)/python -m pytest -n 2 --ignore=tests/browser
	@echo "==> in a browser"
	@$(BIN)/python -m pytest tests/browser
	@echo "==> notebooks"
	@$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 120 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

# Some tests drive JupyterLab in a real browser. Without one they are skipped, and with CI=true they fail.
chromium:
	@if [ -z "$$ORCHKIT_CHROMIUM" ] && ! command -v chromium >/dev/null 2>&1; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "==> installing chromium"; \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null || \
				echo "chromium could not be installed: tests in a browser have to do without" >&2; \
		else \
			echo "chromium is missing: install it (apt-get install chromium), or say where a browser of" >&2; \
			echo "its kind is (ORCHKIT_CHROMIUM=/path/to/it): tests in a browser have to do without" >&2; \
		fi; \
	fi

lint: $(VENV)/ready-lint
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format"
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> imports"
	@$(BIN)/lint-imports --no-logo --no-cache

bench: $(VENV)/ready-bench
	@$(BIN)/python tests/benchmarks/run.py $(ARGS)

lab: $(VENV)/ready-lab
	@$(BIN)/jupyter-lab notebooks

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist demo-out
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "==> clean"

# --- the environment -----------------------------------------------------------------------

$(VENV)/ready-demo: pyproject.toml $(VENV)/created
	@echo "==> installing orchkit"
	@$(PIP_INSTALL) --editable ".[viz]"
	@touch $@

$(VENV)/ready-%: pyproject.toml $(VENV)/created
	@echo "==> installing orchkit and what 'make $*' needs"
	@$(PIP_INSTALL) --editable ".[all]" --group $*
	@touch $@

# Some systems ship python3 without the pip that venv wants to copy: their own pip then fills the gap.
$(VENV)/created:
	@for candidate in $(PYTHONS); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "orchkit needs Python 3.11 or newer; tried: $(PYTHONS)." >&2; \
		echo "Install one, or say where it is: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi; \
	echo "==> making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV) >/dev/null 2>&1 || { \
		"$$python" -m venv --without-pip $(VENV) && \
		"$$python" -m pip --python $(BIN)/python install -qq --disable-pip-version-check pip; \
	}
	@$(PIP_INSTALL) --upgrade "pip>=25.1"
	@touch $@
