# Everything starts here: `make demo` runs Banyan between two small shops, `make test` tests it.
# Both do all set-up themselves, in .venv, and need Python 3.11 or newer and nothing else.

VENV ?= .venv
PY := $(VENV)/bin/python

# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		&& { echo "$$python"; break; }; done)

# The build backend is pinned by the same file; pip reads one name or the other by its version.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ALONE = tests/scenarios tests/services
# The tests that run against the compiled data plane.
COMPILED_TESTS ?= tests/edge tests/core

.PHONY: help setup demo test test-extended test-compiled wheel check format bench clean

help:
	@echo 'make demo           two shops, traffic, and Banyan between them (DEMO_SECONDS=20 ends it)'
	@echo 'make test           every test'
	@echo 'make test-extended  the longer suites'
	@echo 'make test-compiled  the data plane as the wheel has it: compiled'
	@echo 'make check          ruff and mypy'
	@echo 'make format         ruff, rewriting files'
	@echo 'make bench          side by side with nginx, HAProxy and an aiohttp proxy'
	@echo 'make wheel          dist/*.whl, with the data plane compiled (needs a C compiler)'
	@echo 'make setup          only the virtual environment (all of the above do it first)'
	@echo 'make clean          remove it, and every cache'

setup: $(VENV)/.ready

# The stamp is written last, so an interrupted set-up is done again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { \
		echo 'Banyan needs Python 3.11 or newer, and none was found.' \
			'On Debian or Ubuntu: apt-get install python3 python3-venv. Elsewhere: PYTHON=/path/to/python3 make setup.' >&2; \
		exit 1; }
	@"$(PY)" -m pip --version >/dev/null 2>&1 || { \
		{ "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || .ci/install-venv "$(PYTHON)"; } \
		&& "$(PYTHON)" -m venv "$(VENV)"; }
	@echo 'Setting up $(VENV) with pinned packages: about a minute, once.' >&2
	"$(PY)" -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch "$@"

demo: setup
	@"$(VENV)/bin/banyan" demo

# Most of a test is waiting: two at a time take half as long. Whole services and scenarios look at how
# fast something happens, and have the machine for themselves.
test: setup
	"$(PY)" -m pytest -q -ra -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE))
	"$(PY)" -m pytest -q -ra $(ALONE)

test-extended: setup
	"$(PY)" -m pytest -q -ra -m extended

# For the interpreter of $(VENV). The first command says in a sentence what is missing, if anything.
wheel: setup
	@BANYAN_COMPILE=1 "$(PY)" setup.py --quiet --name >/dev/null
	@rm -f dist/banyan_proxy-*.whl
	env -u PIP_BUILD_CONSTRAINT BANYAN_COMPILE=1 \
		"$(PY)" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# What is under test is unpacked where nothing else finds it; the tests start their workers there.
test-compiled: wheel
	@rm -rf build/compiled/tree
	"$(PY)" -m zipfile -e dist/banyan_proxy-*.whl build/compiled/tree
	BANYAN_TEST_TREE=build/compiled/tree "$(PY)" -m pytest -q -ra $(COMPILED_TESTS)

check: setup
	"$(PY)" -m ruff check .
	"$(PY)" -m ruff format --check .
	"$(PY)" -m mypy

format: setup
	"$(PY)" -m ruff check --fix .
	"$(PY)" -m ruff format .

bench: setup
	"$(PY)" -m benchmarks

clean:
	rm -rf "$(VENV)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
