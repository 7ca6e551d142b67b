# make demo   fine-tune a pretrained network on a small colour data set, with pictures of the result
# make test   lint, types, tests and the tutorial notebooks
# make soak   the same, with the tests that take long
# make lab    the tutorials in JupyterLab
# make bench  the benchmarks, beside the libraries they are compared with
# Each does its own set-up: Python 3.11 or later is all that a machine needs.

PYTHON ?= python3
BIN := .venv/bin
BENCH_BIN := .venv-bench/bin
# Two processes, each with one thread: a file's tests stay together, in their order.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n 2 --dist loadfile --nbval-lax

.PHONY: demo test soak browser lint lab bench clean

demo: .venv/.ready-demo
	$(BIN)/fastlearn demo

test: lint browser
	$(TEST) tests $(wildcard notebooks)

soak: lint browser
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[fuzz]"  # without a fuzzer, its tests are left out
	$(TEST) -m "soak or not soak" tests $(wildcard notebooks)

browser:  # the dashboard's tests drive a real one; without it they are left out, and the last lines say so
	@command -v chromium chromium-browser google-chrome > /dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "Installing Chromium for the tests …" && \
			{ apt-get install -qq -y chromium > /dev/null 2>&1 || \
				{ apt-get update -qq && apt-get install -qq -y chromium > /dev/null; }; }; } || true

lint: .venv/.ready-test
	$(BIN)/ruff check .
	$(BIN)/mypy fastlearn

lab: .venv/.ready-demo .venv/.ready-lab  # the tutorials use the weights of the demo
	$(BIN)/jupyter lab notebooks

bench: .venv-bench/.ready
	$(BENCH_BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache build dist demo-output

# One stamp an extra: it is newer than pyproject.toml exactly when that extra is installed, so a second run installs nothing.
.venv/.ready-%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fastlearn needs Python 3.11 or later, and $(PYTHON) is older. Type: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing fastlearn and what 'make $*' needs into .venv; the first time, PyTorch takes some minutes …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	touch $@

.PRECIOUS: .venv/.ready-%

.venv-bench/.ready: pyproject.toml $(wildcard benchmarks/requirements.txt)
	test -x $(BENCH_BIN)/python || $(PYTHON) -m venv .venv-bench
	$(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[lite0]" -r benchmarks/requirements.txt
	touch $@
