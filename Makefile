# Two commands do everything on a machine with Python 3.11+ and a package registry:
#   make run    the main job on embedded data: three datasets in, one promoted detector out
#   make test   all checks and all tests
# Each sets itself up in .venv; setting up again costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export OMP_WAIT_POLICY = PASSIVE

.PHONY: run test check compile bench clean

run: $(RUN_STAMP)
	$(BIN)/kfp-run pipelines/general_class.py $(ARGS)

# Three processes: after some thousand tests, with the native threads of Ray, OpenVINO and MLflow, a process
# crashes when it spawns another program (ranks, a browser: segmentation fault, thrice of three; alone: never).
test: check
	$(BIN)/python -m pytest --durations=15 tests/integration $(ARGS)
	$(BIN)/python -m pytest --durations=15 tests/golden tests/gpu tests/unit --ignore=tests/unit/training --ignore=tests/unit/stages/test_report.py $(ARGS)
	$(BIN)/python -m pytest --durations=15 tests/unit/stages/test_report.py tests/unit/training $(ARGS)

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(MAKE) --no-print-directory compile

compile: $(RUN_STAMP)
	@mkdir -p build
	PATH="$(CURDIR)/infra/bin:$$PATH" kfp dsl compile --py pipelines/general_class.py --output build/general_class.yaml

bench: $(DEV_STAMP)
	@echo "see benchmarks/README.md: one command per table"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.11 run")'
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[sample]"
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[sample,dev]"
	@touch $@

clean:
	rm -rf build runs .mypy_cache .ruff_cache .pytest_cache
