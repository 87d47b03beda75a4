PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test ptx docs demo golden bench compare gpu clean

# The whole check of the project; works on a fresh clone with Python alone.
test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -n 2 tests/cuda

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

# The benchmarks that asv tracks, of the working tree.
bench: .venv-compare/.installed
	cd asv_benchmarks && ../.venv-compare/bin/python -m asv machine --yes
	cd asv_benchmarks && ../.venv-compare/bin/python -m asv run --environment existing:same \
		--set-commit-hash $$(git rev-parse HEAD)

# Proves the kernels on the GPU of this machine, whose Python has PyTorch and CuPy, and measures
# them; writes docs/performance/gpu.md.
gpu:
	$(PYTHON) -m asv_benchmarks.gpu

# numclip beside PyTorch, TensorFlow, optax and NumPy; writes comparison.md and steps.md in
# docs/performance.
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
	rm -rf $(VENV) .venv-compare .venv-docs .venv-golden .venv-ptx .cache docs/_build docs/*/generated
