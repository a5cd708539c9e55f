PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= dev
# tests start many processes, each of which would compile the same files
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/ready  ## create .venv with everything that distpg and its tests need

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "distpg needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || echo "1 of 2: an empty environment in .venv, some seconds"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "2 of 2: distpg[$(EXTRAS)] and what it needs, as far as it is not there: all of it is 0.7 GB to"
	@echo "download (3.4 GB with CUDA), and 3 minutes of work, of which the last are without a word"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

train: setup  ## train PPO on CartPole-v1 until it is solved
	$(BIN)/python launch.py train --config cartpole-ppo

test: setup  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

thorough: setup  ## run the tests that take longer: faults of every kind, compiled updates
	$(BIN)/python -m pytest -n 3 --dist worksteal -m thorough

slow: setup  ## run what takes up to an hour: the proof of every estimator, memory over a long run, mutants
	$(BIN)/python -m pytest -n 2 --dist load -m slow
	$(BIN)/python -m tests.mutants

mutants: setup  ## plant faults in copies of the tree, one by one; the tests must find each
	$(BIN)/python -m tests.mutants

lint: setup  ## check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## check the types, on Linux and on macOS
	$(BIN)/pyright
	@# Python 3.12 lies between
	$(BIN)/pyright --pythonplatform Darwin --pythonversion 3.13 distpg launch.py

docs: setup  ## build the documentation into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup  ## measure training speed on this machine
	$(BIN)/python -m benchmarks.throughput
	@test ! -e .venv-peers/rllib/ready || $(BIN)/python -m benchmarks.races halfcheetah pong --runs 1 --no-save

figures: setup  ## train the short recipes again; compare them and README.md with benchmarks/results
	$(BIN)/python -m benchmarks.figures

regress: setup  ## train four tasks for up to 20 minutes; compare their curves with benchmarks/results
	$(BIN)/python -m benchmarks.regress

soak: setup  ## train for minutes while processes are killed at random, beside the same run undisturbed
	$(BIN)/python -m benchmarks.soak

PEERS := $(patsubst benchmarks/peers/requirements/%.txt,.venv-peers/%/ready,$(wildcard benchmarks/peers/requirements/*.txt))

peers: $(PEERS)  ## create .venv-peers/* with the libraries that `python -m benchmarks.races` compares with

.venv-peers/%/ready: benchmarks/peers/requirements/%.txt
	test -x .venv-peers/$*/bin/python || $(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet --requirement $<
	@touch $@

check: lint types test  ## everything that a change must pass

.PHONY: help setup train test thorough slow mutants lint format types docs bench figures regress soak peers check
