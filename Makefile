# Everything is set up by the first command that needs it; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
MODELS_VENV ?= .venv-models
# One more than the two cores of a small machine: a good part of the tests waits for others.
WORKERS ?= 3
GPU_VENV ?= .venv-gpu
RECIPE ?= frame
TRAINING ?= artefacts/training/$(notdir $(basename $(RECIPE)))
RELEASE ?= models/released/$(notdir $(basename $(RECIPE)))-1.0.0
BIN := $(VENV)/bin
# Some environments forbid it, and each of a thousand processes would compile all modules anew.
export PYTHONDONTWRITEBYTECODE :=
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

TARGET ?= debian12

.PHONY: deb image locks words demo test test-slow soak test-models test-gpu lint bench model clean conformance docs sbom

demo: $(VENV)/.demo
	$(BIN)/echocart demo $(if $(ONCE),--once) $(if $(filter orthanc,$(WITH)),--with-orthanc)

test: $(VENV)/.test lint
	@sh tests/system_packages.sh
	$(BIN)/python -m pytest -m "not slow and not models and not gpu" \
		-n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/.test
	@sh tests/system_packages.sh slow
	$(BIN)/python -m pytest -m slow --timeout=1800 $(ARGS)

# A simulated clinic; what came of it goes into docs/reliability.md.
soak: $(VENV)/.test
	$(BIN)/python -m tests.system.soak --minutes $(or $(MINUTES),60) --keep

test-models: $(MODELS_VENV)/.ready
	$(MODELS_VENV)/bin/python -m pytest -m models $(ARGS) tests/models

# On a machine with an NVIDIA driver; what it prints belongs into docs/engine.md.
test-gpu: $(GPU_VENV)/.ready
	$(GPU_VENV)/bin/python -m pytest -m gpu -s --timeout=2400 $(ARGS) tests/gpu

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# One package a system: make deb TARGET=jetpack6 | jetpack7 | ubuntu22.04 | ubuntu24.04 | debian12 | debian13
deb: $(VENV)/.test
	$(BIN)/python build/package.py $(TARGET)

# A disk with Debian and the package; needs root, mmdebstrap and systemd-nspawn.
image: $(VENV)/.test
	$(BIN)/python build/image.py

# The newest wheels that each system can have, with hashes; needs uv.
locks: $(VENV)/.test
	$(BIN)/python build/targets.py lock

# What translators work from; a test holds it against the source.
words: $(VENV)/.test
	$(BIN)/python build/words.py

# The tables of the conformance statement; a test holds them against the source.
conformance: $(VENV)/.test
	$(BIN)/python build/conformance.py

# Pages that work without a network, also from a folder: artefacts/docs/index.html
docs: conformance
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What a box is made of (CycloneDX).
sbom: $(VENV)/.test
	$(BIN)/python build/sbom.py artefacts/echocart.cdx.json

bench: $(VENV)/.test
	@sh tests/system_packages.sh
	$(BIN)/python -m bench

# From drawn frames to a release with its card. Broken off, it goes on where the training was.
model: $(MODELS_VENV)/.ready
	@[ -d "$(CAMUS)" ] || { echo "where are the drawn frames? make model CAMUS=DIR [RECIPE=frame|reference|FILE.toml]"; exit 1; }
	$(MODELS_VENV)/bin/python -m models.train --camus $(CAMUS) --recipe $(RECIPE) --out $(TRAINING)
	$(MODELS_VENV)/bin/python -m models.export $(TRAINING)/network.pt --camus $(CAMUS) --out $(RELEASE)
	$(MODELS_VENV)/bin/python -m models.evaluate --camus $(CAMUS) --model $(RELEASE) --out $(TRAINING)/evaluation

clean:
	rm -rf $(VENV) $(MODELS_VENV) $(GPU_VENV) demo artefacts

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Echocart needs Python 3.10 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@[ -e $(VENV) ] || new=yes; $(PYTHON) -m venv $(VENV) || { \
	  if [ "$$new" ]; then rm -rf $(VENV); else rm -f $@; fi; \
	  echo "Python can't make an environment: apt install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing Echocart into $(VENV) (about 250 MB to download, once)"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing Echocart and its test tools into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(MODELS_VENV)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(MODELS_VENV)
	@$(MODELS_VENV)/bin/python $(PIP_INSTALL) --editable '.[train,test-models]'
	@touch $@

# A Jetson has TensorRT from its system's packages; elsewhere it comes from PyPI (3 GB).
$(GPU_VENV)/.ready: pyproject.toml
	@$(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	@$(GPU_VENV)/bin/python $(PIP_INSTALL) --editable '.[test,tensorrt]'
	@$(GPU_VENV)/bin/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("tensorrt"))' || \
	  $(GPU_VENV)/bin/python $(PIP_INSTALL) 'tensorrt-cu12>=10.3'
	@touch $@
