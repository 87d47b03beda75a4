PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What asv's results are kept under, rather than the name of the host; which commits are measured.
MACHINE ?= local
COMMITS ?= HEAD^!
BASE ?= HEAD^
HEAD ?= HEAD
OPTIONS ?=
TESTS ?= -n 2 --pyargs numclip tests docs README.md
asv = cd asv_benchmarks && ../$(1)/bin/python -m asv machine --machine $(MACHINE) && ../$(1)/bin/python -m asv

.PHONY: test coverage wheel-test ptx docs demo golden bench bench-record bench-compare bench-publish compare gpu clean

# The whole check of the project; works on a fresh clone with Python alone.
test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -n 2 tests/cuda

# Which lines of the host's code the tests run, here and in CUDA's simulator; fails below all of them.
coverage: $(VENV)/.installed
	rm -rf .cache/coverage
	$(BIN)/python -m coverage run -m pytest -n 2
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m coverage run -m pytest -n 2 tests/cuda
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage html --quiet --fail-under 0 --directory .cache/coverage/html
	$(BIN)/python -m coverage report

# Builds the sdist, from that the wheel, and runs the tests against the wheel, where nothing else of
# numclip is. PYTHON=python3.13 takes another Python, TESTS="tests/test_norm.py" some of the tests.
wheel-test:
	rm -rf .cache/wheel .venv-wheel
	mkdir -p .cache/wheel/tree
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --upgrade pip build
	.venv-wheel/bin/python -m build --outdir .cache/wheel
	tar -xf .cache/wheel/numclip-*.tar.gz -C .cache/wheel/tree --strip-components 1
	rm -r .cache/wheel/tree/numclip
	.venv-wheel/bin/python -m pip install --quiet "$$(echo .cache/wheel/numclip-*.whl)[test]"
	cd .cache/wheel/tree && ../../../.venv-wheel/bin/python -m pytest $(TESTS)

# Compiles every kernel for a GPU, without one, and looks at what comes of it.
ptx: .venv-ptx/.installed
	NUMCLIP_TEST_PTX=1 .venv-ptx/bin/python -m pytest -n 2 tests/ptx

# The site, in docs/_build/html. A link or a name that leads nowhere fails it, as does any warning.
docs: .venv-docs/.installed
	rm -rf docs/_build docs/*/generated
	.venv-docs/bin/python -m sphinx --nitpicky --fail-on-warning --quiet docs docs/_build/html
	@echo "The site is docs/_build/html/index.html."

demo: $(VENV)/.installed
	$(BIN)/python -m numclip demo

# Re-makes the golden values with TensorFlow, in an environment of its own, and compares.
golden: .venv-golden/.installed
	.venv-golden/bin/python tests/golden/make.py --check tests/golden/tensorflow.npz
	.venv-golden/bin/python tests/golden/decay.py --check tests/golden/decay.json
	.venv-golden/bin/python tests/golden/gradients.py --check tests/golden/gradients.json

# asv's benchmarks of the working tree, beside other libraries. It takes long: OPTIONS="--quick" runs
# each once, OPTIONS="--bench GlobalNorm" those whose names match. Shows its results and keeps none.
bench: .venv-compare/.installed
	$(call asv,.venv-compare) run --machine $(MACHINE) --environment existing:same $(OPTIONS)

# The same of committed states, in an environment that asv makes, and so without other libraries.
# Keeps the results in asv_benchmarks/results, under the name MACHINE.
bench-record: .venv-bench/.installed
	$(call asv,.venv-bench) run --machine $(MACHINE) $(OPTIONS) '$(COMMITS)'

# Two commits side by side, each in such an environment; fails where HEAD is slower than BASE.
bench-compare: .venv-bench/.installed
	$(call asv,.venv-bench) continuous --machine $(MACHINE) --split $(OPTIONS) '$(BASE)' '$(HEAD)'

# asv's site of all results that are kept: .cache/asv/html, to be looked at by
# `python -m http.server --directory .cache/asv/html`.
bench-publish: .venv-bench/.installed
	$(call asv,.venv-bench) publish

# Proves the kernels on the GPU of this machine, whose Python has PyTorch and CuPy, and measures
# them; writes docs/performance/gpu.md.
gpu:
	$(PYTHON) -m asv_benchmarks.gpu

# numclip beside PyTorch, TensorFlow, optax and NumPy; writes comparison.md and steps.md in
# docs/performance, and the table in README.md. It takes 20 minutes.
compare: .venv-compare/.installed
	.venv-compare/bin/python -m asv_benchmarks.compare

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv-compare/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-compare
	.venv-compare/bin/python -m pip install --quiet --upgrade pip
	.venv-compare/bin/python -m pip install --quiet --editable '.[compare]'
	touch $@

.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet --editable '.[bench]'
	touch $@

.venv-docs/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --upgrade pip
	.venv-docs/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv-ptx/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-ptx
	.venv-ptx/bin/python -m pip install --quiet --upgrade pip
	.venv-ptx/bin/python -m pip install --quiet --editable '.[ptx]'
	touch $@

.venv-golden/.installed: tests/golden/requirements.txt
	$(PYTHON) -m venv .venv-golden
	.venv-golden/bin/python -m pip install --quiet --upgrade pip
	.venv-golden/bin/python -m pip install --quiet --requirement tests/golden/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-bench .venv-compare .venv-docs .venv-golden .venv-ptx .venv-wheel .cache \
		docs/_build docs/*/generated
