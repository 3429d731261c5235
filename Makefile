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
	--no-build-isolation --constraint constraints.txt
# What one machine needs comes by hash, before anything else; what is left (torch, tools) by version.
LOCKED := $(BIN)/python -m pip install $$(test -t 2 || echo --quiet) --disable-pip-version-check --no-compile \
	--require-hashes --requirement locks/local.txt
SOURCES := pyproject.toml constraints.txt locks/local.txt

# Pins that hold torch, transformers or Celery back: their own and those of what they bring along.
HELD_BACK := torch|triton|nvidia-.*|cuda-.*|transformers|tokenizers|huggingface[-_]hub|hf-xet|safetensors|celery|kombu|billiard|vine
ENGINE_TESTS := tests/unit/test_host_cost.py tests/integration/test_runner.py tests/integration/test_vibevoice.py \
	tests/integration/test_vibevoice_engine.py tests/integration/test_vibevoice_loader.py

.PHONY: help install up demo test lint type format docs site bench soak lock newest sbom clean

help:  ## show the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

install: $(VENV)/run  ## install what one machine needs, or what changed of it

up: $(VENV)/run  ## watch and transcribe a folder: make up INBOX=~/recordings [MODEL=small]
	@test -n "$(INBOX)" || { echo 'usage: make up INBOX=~/recordings [ENGINE=whisper] [MODEL=small]' >&2; exit 2; }
	@trap : INT; trap 'test $$? -ne 130 || exit 0' EXIT; : after Ctrl-C, all is said; \
	$(BIN)/dropscribe up "$(INBOX)" $(if $(ENGINE),--engine "$(ENGINE)") $(if $(MODEL),--model "$(MODEL)")

demo: $(VENV)/run  ## transcribe the samples in a scratch copy, print the transcripts and their word error rate
	@$(BIN)/python -m bench.demo

test: $(VENV)/develop  ## run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/develop  ## check style, formatting, the layers and plain words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python docs/plain_words.py

type: $(VENV)/develop  ## check types strictly
	$(BIN)/mypy

format: $(VENV)/develop  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/develop  ## write the generated parts of the documents again
	$(BIN)/python docs/reference.py
	$(BIN)/python -m dropscribe.store.statement_texts

site: $(VENV)/run  ## build the documentation as a site: build/site/html/index.html
	@$(INSTALL) --editable '.[docs]'
	$(BIN)/python docs/site.py

bench: $(VENV)/develop  ## measure the overheads, beside rivals in the same run
	$(BIN)/python -m bench

soak: $(VENV)/develop  ## attack a fleet at random for long: make soak SOAK_ARGS="--database postgresql --seed 7"
	$(BIN)/python -m tests.faults.soak $(SOAK_ARGS)

newest:  ## run the engine's tests on the newest releases of torch, transformers and Celery that are allowed
	$(PYTHON) -m venv --clear build/newest
	grep --invert-match --extended-regexp '^($(HELD_BACK))==' constraints.txt >build/newest.txt
	build/newest/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--constraint build/newest.txt --editable '.[local,dev]'
	build/newest/bin/python -m pip list 2>/dev/null | grep --extended-regexp '^(torch|transformers|celery) '
	build/newest/bin/python -m pytest $(ENGINE_TESTS) $(PYTEST_ARGS)

lock: $(VENV)/develop  ## resolve the packages again, with the hash of each file: locks/*.txt
	$(call locked,local,pyproject.toml locks/build.in --extra local)
	$(call locked,cpu,pyproject.toml locks/build.in --extra postgres --extra onnx --extra s3 --extra serve --extra cpu)
	$(call locked,gpu,pyproject.toml locks/build.in --extra postgres --extra onnx --extra s3 --extra serve --extra gpu)
	$(call locked,sbom,locks/sbom.in)

locked = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --constraint constraints.txt --custom-compile-command "make lock" \
	$(2) --output-file locks/$(1).txt

sbom: $(VENV)/run  ## list what is installed, with versions, licences and hashes: build/sbom.json (CycloneDX)
	@mkdir -p build
	@$(PYTHON) -m venv build/sbom
	@build/sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement locks/sbom.txt
	@build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json $(BIN)/python
	@echo 'wrote build/sbom.json'

clean:  ## remove what the verbs made
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'dropscribe needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@echo 'making a virtual environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(BIN)/python $(SOURCES)
	@echo 'installing packages (once; $(if $(GPU),several GB and some minutes,about a minute))'
	@$(LOCKED)
	@$(INSTALL) --editable '.[local$(GPU)]'
	@touch $@

$(VENV)/develop: $(BIN)/python $(SOURCES)
	@echo 'installing packages for development (once; about 2 GB and some minutes)'
	@$(LOCKED)
	@$(INSTALL) --editable '.[local,postgres,dev]'
	@touch $@
