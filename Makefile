# Two commands set everything up on a machine that has only Python >= 3.11:
#   make train   a virtual environment, the requirements, the default recipe, a grid of samples
#   make test    the same environment, the whole test suite
PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(wildcard ../shared/data)

.PHONY: train test slow results clean

train: $(BIN)/installed
	$(BIN)/python train.py
	$(BIN)/python sample.py runs/vae_digits --seeds 0-63 --out grid.png

test: $(BIN)/installed
	$(if $(DATA),GENJAX_DATA=$(abspath $(DATA))) $(BIN)/python -m pytest -n 2 -q

slow: $(BIN)/installed
	$(if $(DATA),GENJAX_DATA=$(abspath $(DATA))) $(BIN)/python -m pytest -n 2 -q -m slow

results: $(BIN)/installed
	$(BIN)/python -m benchmarks.report

$(BIN)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genjax needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

clean:
	rm -rf .venv .cache
