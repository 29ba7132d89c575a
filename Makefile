# The two commands: make demo, make test. Everything they need is set up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLOW := .venv-flow
DATA ?= ../shared/eval
SOURCE ?=
BOARD ?= virt
ARCH ?= amd64
FLAVOUR ?= rig
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup native models demo test check bench accuracy engines gpu scenes faults hil soak rig proof proof-short mutations image image-test flow flow-check flow-postgres flow-browser flow-test flow-bench lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.installed: requirements/dev.txt setup.cfg pyproject.toml
	@echo "setup: Python environment in $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed  ## install the locked packages into .venv

native: setup  ## build the libraries that overwrite freed memory and stacks (needs a C compiler)
	$(BIN)/python -m firmware.vision.native

models: native  ## fetch, check and convert the models
	$(BIN)/python -m trt_engines acquire
	$(BIN)/python -m trt_engines convert

demo: models $(FLOW)/.installed  ## visitors in a scene arrive sealed and stand on the overview page (SOURCE=clip.mp4)
	$(BIN)/python -m hil.demo --flow $(FLOW)/bin/python $(if $(SOURCE),--source $(SOURCE))

test: models  ## all tests
	$(BIN)/python -m pytest

check: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: models  ## time and memory of every stage → build/reports/bench.json
	$(BIN)/python -m hil.bench

accuracy: models  ## accuracy on labelled pictures: make accuracy DATA=dir → build/reports/accuracy.json
	$(BIN)/python -m hil.accuracy --data $(DATA)

engines: models  ## engines for two targets, what fp16 changes, latency → build/reports/engines.json
	$(BIN)/python -m trt_engines build --onnx-only --precision fp32
	$(BIN)/python -m trt_engines build --target rtx-sm86 --target rtx-sm89
	$(BIN)/python -m trt_engines bench
	$(BIN)/python -m trt_engines compare --data $(DATA)

gpu: models  ## kernels, engines, pipeline and wipe on an NVIDIA GPU; what needs none runs anywhere
	$(BIN)/python -m hil.gpu $(if $(wildcard $(DATA)),--data $(DATA))

scenes: models  ## counting and tracking on the standard scenes → build/reports/scenes.json
	$(BIN)/python -m hil.scenes evaluate

faults: setup  ## 20,000 records through 500 faults, with each of two SDKs → build/reports/faults.json
	$(BIN)/python -m hil.faults

hil: models  ## the scenarios on a rig of processes → build/reports/hil.json, .html, .xml
	$(BIN)/python -m hil.rigs process

soak: models  ## 10,000 visitors, one after another: does anything grow? → build/reports/soak.json
	$(BIN)/python -m hil.rigs process -k soak --interactions 10000 --report soak

rig: models  ## build the image and run the scenarios on two emulated machines (as root; ARCH=arm64 takes hours) → build/reports/rig.json
	$(BIN)/python -m build_scripts image virt --arch $(ARCH) --flavour rig
	$(BIN)/python -m build_scripts offers build/image/virt
	$(BIN)/python -m hil.rigs virtual --cuts 25 --beside power_is_cut

proof: models  ## search the sensor for traces of 50 visitors → build/reports/proof.json
	$(BIN)/python -m hil.traces $(if $(SEED),--seed $(SEED))

proof-short: models  ## the same with 12 visitors and without costs, for every change (2 minutes)
	$(BIN)/python -m hil.traces --short $(if $(SEED),--seed $(SEED))

mutations: models  ## take each ingredient of the promise away and see the proof notice it (10 minutes)
	$(BIN)/python -m hil.traces.mutations

image: models  ## a disk image: make image BOARD=virt ARCH=amd64 FLAVOUR=rig (as root; see docs/image.md)
	$(BIN)/python -m build_scripts image $(BOARD) --arch $(ARCH) --flavour $(FLAVOUR)

image-test: models  ## tests of what builds images; two builds from the locks, compared byte by byte (as root)
	$(BIN)/python -m build_scripts tools
	$(BIN)/python -m pytest tests/image
	$(BIN)/python -m build_scripts reproduce virt --arch amd64 --flavour rig

$(FLOW)/.installed: requirements/flow.txt
	@echo "setup: Python environment of the web application in $(FLOW)"
	$(PYTHON) -m venv $(FLOW)
	$(FLOW)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/flow.txt
	@touch $@

$(FLOW)/.tests: $(FLOW)/.installed requirements/flow-test.txt
	$(FLOW)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/flow-test.txt
	@touch $@

flow: $(FLOW)/.installed  ## the web application on this machine, with a year of demo data
	$(FLOW)/bin/python -m flow.embedded

flow-check: $(FLOW)/.tests  ## ruff, mypy --strict and its tests on SQLite
	$(FLOW)/bin/ruff check flow tests/flow
	$(FLOW)/bin/mypy --config-file tests/flow/mypy.ini
	$(FLOW)/bin/python -m pytest -c tests/flow/pytest.ini tests/flow -m "not browser"

flow-postgres: $(FLOW)/.tests  ## the same tests on PostgreSQL (Debian's postgresql)
	$(FLOW)/bin/python -m tests.flow.requirements
	$(FLOW)/bin/python -m tests.flow.postgres $(FLOW)/bin/python -m pytest -c tests/flow/pytest.ini \
	  tests/flow -m "not browser"

flow-browser: $(FLOW)/.tests  ## its tests in a browser (Debian's chromium)
	$(FLOW)/bin/python -m tests.flow.requirements
	$(FLOW)/bin/python -m pytest -c tests/flow/pytest.ini tests/flow -m browser

flow-test: flow-check flow-postgres flow-browser  ## all of FLOW's tests

flow-bench: $(FLOW)/.tests  ## ingest, replay, crashes and pages on PostgreSQL → build/reports/flow.json
	$(FLOW)/bin/python -m tests.flow.bench

lock:  ## write requirements/*.txt again from setup.cfg
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	for extra in cpu jetson pi flow flow-test dev; do \
	  build/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	    --no-emit-index-url --custom-compile-command "make lock" \
	    --extra $$extra setup.cfg requirements/build.in -o requirements/$$extra.txt || exit 1; done
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" \
	  requirements/sdk-2.14.0.in -o requirements/sdk-2.14.0.txt

clean:  ## remove everything that was built here
	rm -rf $(VENV) build *.egg-info
