# The verbs of this project. Each sets up what it needs by itself, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INBOX ?=
ENGINE ?=
MODEL ?=

comma := ,
# A GPU that may be used calls for the packages that use it. Asked only where something is installed.
GPU = $(if $(shell $(PYTHON) -m dropscribe.core.gpus),$(comma)gpu)

# Progress is for people; a log needs none. Python compiles what it imports; compiling all 14,000 files takes 45 s.
INSTALL := $(BIN)/python -m pip install $$(test -t 2 || echo --quiet) --disable-pip-version-check --no-compile \
	--constraint constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: help install up demo test lint type format docs bench soak clean

help:  ## show the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

install: $(VENV)/run  ## install what one machine needs, or what changed of it

up: $(VENV)/run  ## watch and transcribe a folder: make up INBOX=~/recordings [MODEL=small]
	@test -n "$(INBOX)" || { echo 'usage: make up INBOX=~/recordings [ENGINE=whisper] [MODEL=small]' >&2; exit 2; }
	@$(BIN)/dropscribe up "$(INBOX)" $(if $(ENGINE),--engine "$(ENGINE)") $(if $(MODEL),--model "$(MODEL)")

demo: $(VENV)/run  ## transcribe the samples in a scratch copy, print the transcripts and their word error rate
	@$(BIN)/python -m bench.demo

test: $(VENV)/develop  ## run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/develop  ## check style, formatting and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: $(VENV)/develop  ## check types strictly
	$(BIN)/mypy

format: $(VENV)/develop  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/develop  ## write the generated parts of the documents anew
	$(BIN)/python docs/reference.py

bench: $(VENV)/develop  ## measure the overheads, beside rivals in the same run
	$(BIN)/python -m bench

soak: $(VENV)/develop  ## attack a fleet at random for long: make soak SOAK_ARGS="--database postgresql --seed 7"
	$(BIN)/python -m tests.faults.soak $(SOAK_ARGS)

clean:  ## remove what the verbs made
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'dropscribe needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@echo 'making a virtual environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(BIN)/python $(SOURCES)
	@echo 'installing packages (once; $(if $(GPU),several GB and some minutes,about a minute))'
	@$(INSTALL) --editable '.[local$(GPU)]'
	@touch $@

$(VENV)/develop: $(BIN)/python $(SOURCES)
	@echo 'installing packages for development (once; about 2 GB and some minutes)'
	@$(INSTALL) --editable '.[local,postgres,dev]'
	@touch $@
