# Each target installs what it needs first; all of them may be repeated, and are quick when nothing changed.
BIN := .venv/bin
PORT ?= 9555

help:
	@echo "make install   .venv, system packages (as root), the agent"
	@echo "make up        start Hanabi on 127.0.0.1:$(PORT)"
	@echo "make test      run the tests        make test TESTS=tests/unit/http"
	@echo "make test-microvm   the tests on real microVMs, with what they need built first"
	@echo "make test-apps public frameworks, installed from their registries, deployed and called"
	@echo "make check     lint, types, structure, the agent without warnings, the instructions of an invocation"
	@echo "make bench     measure"
	@echo "make bench-path  measure the server's part of an invocation, without a sandbox"
	@echo "make bench-microvm  measure microVMs, beside a restore by hand"
	@echo "make wheel     build the wheel into dist/"
	@echo "make release VERSION=0.2.0   the version, the changelog, the wheel, a commit and a tag"
	@echo "make clean     remove what was made, but no data directory"

install:
	@scripts/install

dev:
	@scripts/install dev

up: install
	$(BIN)/hanabi up --port $(PORT)

# Roots are built before the tests that use them, so that no test waits for one; only root runs those.
ROOTS := python3.11 python3.13 nodejs22.x provided.al2023
roots: dev
	@[ "$$(id -u)" != 0 ] || $(BIN)/hanabi images build $(ROOTS) --images-dir "$${HANABI_TEST_IMAGES:-/var/lib/hanabi/images}"

# All of them in lanes side by side; with TESTS, those alone.
test: dev $(if $(TESTS),roots)
	$(BIN)/python -m $(if $(TESTS),pytest $(TESTS),tests.lanes)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/structure
	$(MAKE) --no-print-directory -B -C guest/agent PYTHON=$(CURDIR)/$(BIN)/python
	$(MAKE) --no-print-directory -B -C guest/process_snapshot
	$(BIN)/python -m bench.path --check

# Real microVMs: the test kernel is built unless it is in the cache (five minutes), and the runtime is booted once (some minutes more).
test-microvm: roots
	HANABI_TEST_MICROVM=1 $(BIN)/python -m pytest $(or $(TESTS),tests/microvm tests/system/firecracker tests/unit/sandbox/firecracker)

# Public frameworks: FastAPI, Express, pandas, Go, Rust ... Their packages are fetched, so this takes minutes and a network.
test-apps: roots
	HANABI_TEST_APPS=1 HANABI_TEST_CLIENTS=aws-cli,go,java,node,python,registry,rust,sam,web-adapter $(BIN)/python -m pytest $(or $(TESTS),tests/system/apps)

bench: roots
	$(BIN)/python -m bench $(BENCH)

bench-path: dev
	$(BIN)/python -m bench.path $(BENCH)

bench-microvm: roots
	$(BIN)/python -m bench.microvm $(BENCH)

wheel: dev
	@scripts/wheel

# make release VERSION=0.2.0
release: dev
	@scripts/release $(VERSION)

clean:
	rm -rf .venv build dist guest/build .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find hanabi tests bench guest -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help install dev up roots test test-microvm test-apps check bench bench-path bench-microvm wheel release clean
