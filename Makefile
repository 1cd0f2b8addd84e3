# Two commands set everything up on a machine that has only Python >= 3.11:
#   make train   a virtual environment, the requirements, the default recipe, a grid of samples
#   make test    the same environment, the test suite; make slow runs the tests that are left out of it
# A third compares with other people's implementations, in PyTorch, so in an environment of its own:
#   make parity  what cannot be installed there is not compared with, and pytest says what
PYTHON ?= python3
BIN := .venv/bin
PARITY := .venv-parity/bin
DATA ?= $(wildcard ../shared/data)

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11) and "genjax needs Python 3.11 or newer: make PYTHON=python3.12")'

.PHONY: train test parity slow results clean

train: $(BIN)/installed
	$(BIN)/python train.py
	$(BIN)/python sample.py runs/vae_digits --seeds 0-63 --out grid.png

test: $(BIN)/installed
	$(if $(DATA),GENJAX_DATA=$(abspath $(DATA))) $(BIN)/python -m pytest -n 2 -q

# pytest's 5 is "no tests": all of them are skipped
parity: $(PARITY)/installed
	$(PARITY)/python -m pytest -n 2 -q -rs tests/parity || test $$? -eq 5

slow: $(BIN)/installed
	$(if $(DATA),GENJAX_DATA=$(abspath $(DATA))) $(BIN)/python -m pytest -n 2 -q -m slow

results: $(BIN)/installed
	$(BIN)/python -m benchmarks.report

$(BIN)/installed: requirements.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

# PyTorch from its own index first, if that can be reached: elsewhere it may bring CUDA along.
$(PARITY)/installed: requirements.txt requirements-parity.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv .venv-parity
	$(PARITY)/python -m pip install --quiet --requirement requirements.txt
	-$(PARITY)/python -m pip install --quiet --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu \
		$$(grep ^torch requirements-parity.txt)
	$(PARITY)/python -m pip install --quiet --requirement requirements-parity.txt && touch $@ \
		|| echo "parity: requirements-parity.txt cannot be installed here; what compares with it is skipped"

clean:
	rm -rf .venv .venv-parity .cache
