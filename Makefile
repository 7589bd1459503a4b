# What one does with a checkout. Each verb sets .venv up first, where that is still to be done.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
STORE  ?= $(or $(POLYMERA_STORE),store)
HOST   ?= 127.0.0.1
PORT   ?= 8000
UI_PORT ?= 7860

export POLYMERA_STORE := $(abspath $(STORE))
python := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help serve test lint format fetch setup vllm clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile
	@echo "Variables: HOST=$(HOST) PORT=$(PORT) UI_PORT=$(UI_PORT) STORE=$(STORE) PYTHON=$(PYTHON)"

serve: fetch ## the API and the chat, until Ctrl-C
	@$(python) scripts/serve.py --host $(HOST) --port $(PORT) --ui-port $(UI_PORT)

test: setup ## lint, types and all tests, with coverage
	@scripts/debian.sh chromium java
	@$(MAKE) --no-print-directory lint
	@OMP_NUM_THREADS=1 $(python) -m pytest --cov -n auto --dist loadfile

lint: setup ## style and types
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy

format: setup ## the style, applied
	@$(python) -m ruff check --fix .
	@$(python) -m ruff format .

fetch: setup ## models and data into the store, once
	@$(python) -m modalities fetch

setup: ## .venv from requirements.lock, again only when that or pyproject.toml changed
	@PYTHON="$(PYTHON)" scripts/setup.sh

vllm: setup ## vLLM beside it, on Linux: the fast engine, which make serve then uses
	@scripts/vllm.sh

clean: ## remove .venv and what tools left; the store stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .coverage* build ./*.egg-info
	find . -name __pycache__ -type d -not -path './store/*' -prune -exec rm -rf {} +
