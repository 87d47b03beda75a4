PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test demo golden clean

# The whole check of the project; works on a fresh clone with Python alone.
test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

demo: $(VENV)/.installed
	$(BIN)/python -m numclip demo

# Re-makes the golden values with TensorFlow, in an environment of its own, and compares.
golden: .venv-golden/.installed
	.venv-golden/bin/python tests/golden/make.py --check tests/golden/tensorflow.npz

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv-golden/.installed: tests/golden/requirements.txt
	$(PYTHON) -m venv .venv-golden
	.venv-golden/bin/python -m pip install --quiet --upgrade pip
	.venv-golden/bin/python -m pip install --quiet --requirement tests/golden/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-golden .cache
