# Everything needs only Python (3.11 or newer), a C++ compiler and a package registry: the rest is installed into .venv.
# PYTHON=python3.13 chooses another Python than python3 for a new .venv.
#   make demo     train a network on the MNIST digits, evaluate it, save it, use it
#   make test     all that shows behaviour, in some minutes; make help lists the rest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

venv := .venv
python := $(venv)/bin/python
compiler := $(firstword $(foreach c,$(CXX) c++ g++ clang++,$(if $(shell command -v $(c) 2>/dev/null),$(c))))
# Where a compiler exists, a native module that does not build is an error and not a slow installation.
ifneq ($(compiler),)
export CHAINRULE_REQUIRE_NATIVE := 1
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# What an installation is made from: it is renewed when any of this changes, so nothing runs a stale native module.
sources := pyproject.toml CMakeLists.txt $(shell find native -type f 2>/dev/null)

.PHONY: help demo test prove sanitize fuzz learn parity interchange bench lint docs clean
help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(venv)/.installed-plot ## train on the real MNIST digits; results in runs/demo
	$(python) -m chainrule.apps.demo

test: $(venv)/.installed-dev ## the tests: the product in 5 seconds, then everything, the examples in the docs too
	CHAINRULE_STRICT=1 $(python) -m pytest -q --durations=5 tests/test_tiny.py tests src --ignore=tests/prove

prove: $(venv)/.installed-dev,bench,cuda,sklearn,browser,docs ## what takes longer, with PyTorch as a peer; results are kept in docs/proof
	CHAINRULE_STRICT=1 $(python) -m pytest -v tests/prove

sanitize: $(venv)/.installed-dev,bench,cuda,sklearn,browser,docs ## the native tests under the address, undefined-behaviour and thread sanitizers
	CHAINRULE_STRICT=1 $(python) -m pytest -v tests/prove/test_sanitizers.py

parity: $(venv)/.installed-dev,bench,cuda,sklearn,browser,docs ## how far every op, layer, loss and optimizer is from PyTorch: docs/parity.md
	$(python) -m tests.prove.parity

interchange: $(venv)/.installed-dev,bench,cuda,sklearn,browser,docs ## how far each file format carries a model: docs/interchange.md
	$(python) -m tests.prove.interchange

fuzz: $(venv)/.installed-dev,fuzz ## damage files for every reader for seconds=60 in all; only="h5 onnx" for some
	$(python) -m fuzz $(only) --seconds $(or $(seconds),60)

learn: $(venv)/.installed-dev ## real data learnt to known figures, in docs/learn.md; only="mnist_mlp vowels" for some
	$(python) -m examples.learn $(only)

bench: $(venv)/.installed-dev ## speed beside PyTorch and JAX where they are installed; only="mlp_b128 cnn_bn" for some
	$(python) -m chainrule bench peers $(only)

lint: $(venv)/.installed-dev ## style and types
	$(venv)/bin/ruff check .
	$(venv)/bin/ruff format --check .
	$(venv)/bin/mypy
	$(venv)/bin/mypy tests/core/test_conformance.py

docs: $(venv)/.installed-dev,docs ## run the code blocks of README and docs, follow their links; the site, in build/docs
	$(python) -m pytest -q tests/test_documents.py
	$(python) -m sphinx -E -W --keep-going -q -j auto -b html -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

clean: ## remove what was built and installed (not runs/)
	rm -rf $(venv) build dist src/chainrule/_native.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up: the build tools are installed first and stay, so that a changed kernel is rebuilt in seconds

extras := dev plot dev,docs dev,fuzz dev,bench,cuda,sklearn,browser,docs
$(extras:%=$(venv)/.installed-%): $(venv)/.installed-%: $(venv)/.tools $(sources)
	@touch $@.begun  # a source that changes while this runs is newer
	@echo "Installing chainrule[$*] (building its native module takes a few minutes the first time) ..."
	$(python) -m pip install --quiet --no-build-isolation --editable ".[$*]"
	@mv $@.begun $@

$(venv)/.tools: pyproject.toml
	@for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        found=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "chainrule needs Python 3.11 or newer with the modules venv and ensurepip; python3 here is" \
	         "$$(python3 --version 2>&1 || true). On Debian and Ubuntu: apt install python3 python3-venv" >&2; exit 1; \
	fi; \
	if [ -z "$(compiler)" ]; then \
	    echo "No C++ compiler (c++, g++, clang++) was found: chainrule will run on its slow NumPy reference." \
	         "On Debian and Ubuntu: apt install g++" >&2; \
	fi; \
	[ -x $(python) ] || $$found -m venv $(venv)
	$(python) -m pip install --quiet --upgrade "pip>=23.1"
	$(python) -m pip install --quiet $$($(python) -c 'import tomllib; \
	    print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")') "cmake>=3.26" ninja
	@touch $@
