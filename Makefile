# The only list of commands. `make help` prints it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SEEDS ?= 2000
START ?= 0
NAME ?= demo
export PYTHONPATH := $(CURDIR):$(CURDIR)/protos

.PHONY: help
help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install system packages and the environment (fast when nothing is missing)
	@deploy/setup

.PHONY: demo
demo: setup ## three managers, two workers, one service of five tasks, left running
	@deploy/demo up --name $(NAME)

.PHONY: demo-down
demo-down: ## remove the demo without a trace
	@deploy/demo down --name $(NAME)

.PHONY: test
test: setup ## everything that must pass: gates, unit, simulation, component and system tests
	@$(MAKE) --no-print-directory check
	@tests/run

.PHONY: check
check: lint types arch protos-check samples-check ## the gates: lint, types, architecture, fresh protos

.PHONY: lint
lint: ## ruff, format and lint
	@.venv/bin/ruff format --check -q . || { echo "run make fmt"; exit 1; }
	@.venv/bin/ruff check -q .

.PHONY: fmt
fmt: ## format the code
	@.venv/bin/ruff format -q .
	@.venv/bin/ruff check -q --fix .

.PHONY: types
types: ## mypy, strict
	@.venv/bin/mypy

.PHONY: arch
arch: ## import contracts: cores reach no I/O, daemons never import each other
	@.venv/bin/lint-imports --no-cache

.PHONY: protos
protos: ## generate the Python modules of the protos
	@$(PYTHON) protos/generate.py

.PHONY: protos-check
protos-check: ## generated modules are fresh, the protos pass buf lint
	@$(PYTHON) protos/generate.py --check
	@.venv/bin/buf lint protos

.PHONY: samples-check
samples-check: # sample settings are as the classes say
	@$(PYTHON) deploy/samples.py --check

.PHONY: samples
samples: ## write the sample settings from the settings classes
	@$(PYTHON) deploy/samples.py

.PHONY: sim
sim: ## raft under simulated faults: make sim SEEDS=n [START=k]
	@$(PYTHON) -m tests.sim.raft --seeds $(SEEDS) --start $(START)

.PHONY: sim-swarm
sim-swarm: ## whole swarms under simulated faults: make sim-swarm SEEDS=n [START=k]
	@$(PYTHON) -m tests.sim.swarm --seeds $(SEEDS) --start $(START)

.PHONY: crash
crash: ## containerd killed at every step, as root: make crash SEEDS=n [START=k]
	@$(PYTHON) -m tests.component.containerd.crash --seeds $(SEEDS) --start $(START)

.PHONY: bench
bench: setup ## the same work on Beeyard and on Docker, side by side
	@bench/run

.PHONY: pins
pins: ## write the pinned requirements from the environment
	@$(PYTHON) deploy/pins.py
