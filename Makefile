# What newcomers and CI run. `make` alone lists the targets.
#
# Everything that is built or fetched goes to $(CARGO_TARGET_DIR) (target/) and to
# $(TIDEGATE_CACHE) (.cache/): point them outside of the checkout to share them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
comma := ,

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
export TIDEGATE_CACHE := $(abspath $(or $(TIDEGATE_CACHE),.cache))
# Guests are compiled for another machine than the tests: one folder for all of them.
export TIDEGATE_GUESTS := $(CARGO_TARGET_DIR)/guest/components
# The stock runtimes' components.
export TIDEGATE_RUNTIMES := $(TIDEGATE_CACHE)/runtimes

RELEASE := $(CARGO_TARGET_DIR)/release
BIN := $(RELEASE)/tidegate
PYTHON_BUILD := python3 guest-sdk/python/tidegate_build --cache $(TIDEGATE_CACHE)
# A line for every step that may take more than two seconds; bold on a terminal.
say = @if [[ -t 1 && -z $${NO_COLOR-} ]]; then printf '\033[1m==> %s\033[0m\n' $(1); else printf '==> %s\n' $(1); fi

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.PHONY: setup
setup: ## Install what building and testing need from the system (only what is missing)
	@scripts/setup

.PHONY: build
build: setup ## Build the release binary
	$(call say,"Building the host; the first time takes some minutes")
	@cargo build --release --locked --package tidegate

.PHONY: guests
guests: setup ## Build the Rust guests (test programs and examples)
	$(call say,"Building the Rust guests; the first time fetches a compiler kit of about 140 MB")
	@scripts/build-guests > /dev/null

.PHONY: runtime
runtime: setup $(TIDEGATE_RUNTIMES)/python.wasm $(TIDEGATE_RUNTIMES)/hrflow-4.wasm ## Build the stock Python runtimes

# A runtime is made anew when its packages or its own code changed.
RUNTIME_SOURCES := $(shell find guest-sdk/python/tidegate_runtime guest-sdk/python/tidegate_build wit -name '*.py' -o -name '*.wit' -o -name '*.txt')
$(TIDEGATE_RUNTIMES)/%.wasm: runtimes/%/requirements.txt runtimes/%/preload.txt $(RUNTIME_SOURCES)
	$(call say,"Building the Python runtime $*; this takes about a minute")
	@mkdir -p $(@D)
	@$(PYTHON_BUILD) runtime --name $* --requirements $< --output $(@D) > /dev/null

.PHONY: demo
demo: build guests $(TIDEGATE_RUNTIMES)/python.wasm ## See workflows run: a catch and a pull, then serve until ctrl-c
	@$(BIN) demo --data $(TIDEGATE_CACHE)/demo

.PHONY: test
test: setup guests runtime ## Run all tests
	$(call say,"Testing the Python SDK")
	@python3 -m unittest discover --start-directory guest-sdk/python/tests --top-level-directory guest-sdk/python --quiet
	$(call say,"Testing the Rust SDK")
	@cargo test --locked --quiet --package tidegate-guest
	$(call say,"Testing the host; the first build takes some minutes")
	@cargo test --locked --package tidegate
	@$(MAKE) --no-print-directory browser

# What the browser tests and the screenshots run: the binary that the tests use.
BROWSER = CARGO_TARGET_DIR=$(CARGO_TARGET_DIR) TIDEGATE_BIN=$(CARGO_TARGET_DIR)/debug/tidegate TIDEGATE_RUNTIME=$(TIDEGATE_RUNTIMES)/python.wasm node

.PHONY: browser
browser: setup guests runtime ## Walk through the console in headless Chromium
	@scripts/setup-browser
	@cargo build --locked --package tidegate
	$(call say,"Walking through the console in Chromium")
	@$(BROWSER) --test --test-concurrency=1 tests/browser/

.PHONY: screenshots
screenshots: setup runtime ## Make a screenshot of every page of the console (SCREENSHOTS=folder)
	@scripts/setup-browser
	@cargo build --locked --package tidegate
	$(call say,"Making screenshots in $(SCREENSHOTS)")
	@$(BROWSER) tests/browser/screenshots.mjs $(SCREENSHOTS)
# Where the screenshots go.
SCREENSHOTS ?= $(CARGO_TARGET_DIR)/screenshots

.PHONY: lint
lint: setup ## Check formatting, lints and dependencies
	$(call say,"Checking the formatting")
	@cargo fmt --all --check
	$(call say,"Running clippy; the first time takes some minutes")
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/lint

.PHONY: bench
# Arguments for the benchmark, for example BENCH="--only throughput --rounds 3 --strict".
BENCH ?=
bench: build guests runtime ## Measure beside the peers, in one run (BENCH="--help" lists what can be chosen)
	$(call say,"Building the benchmark")
	@cargo build --release --locked --package tidegate-bench
	$(call say,"Measuring for about forty minutes; leave the machine alone meanwhile")
	@$(RELEASE)/tidegate-bench run --tidegate $(BIN) --guests $(TIDEGATE_GUESTS) \
		--runtimes $(TIDEGATE_RUNTIMES) --cache $(TIDEGATE_CACHE) \
		--output $(CARGO_TARGET_DIR)/bench/$$(date -u +%Y-%m-%dT%H%M%SZ).json $(BENCH)
	@echo 'scripts/figures RESULTS.json writes the figures into SPECIFICATION.md'

.PHONY: bench-store
# Runs that are stored, and seconds of durable runs; --strict makes a missed figure a failure.
STORE_BENCH ?= 7000000 600
bench-store: ## Measure the store alone and judge it: ten minutes of durable runs, listings, retention (about 20 minutes; STORE_BENCH="--strict 7000000 600")
	@cargo run --release --locked --package tidegate --example store_bench -- $(STORE_BENCH)

.PHONY: fuzz
# How often each target does what it does in the tests, and the first seed.
FUZZ_TIMES ?= 100
FUZZ_SEED ?= 1000000
fuzz: setup guests ## Run the fuzz targets for hours (FUZZ_TIMES=100 is how often, FUZZ_SEED where it begins)
	$(call say,"Fuzzing; a seed that fails is named and belongs into tests/fuzz/seeds")
	@TIDEGATE_FUZZ_TIMES=$(FUZZ_TIMES) TIDEGATE_FUZZ_SEED=$(FUZZ_SEED) \
		cargo test --locked --package tidegate --lib --test it -- fuzz:: schema:: sequences:: generated::

.PHONY: sbom
sbom: ## Write the bill of materials (CycloneDX) of the release binary
	@mkdir -p $(CARGO_TARGET_DIR)
	@scripts/sbom > $(CARGO_TARGET_DIR)/tidegate.cdx.json
	@echo $(CARGO_TARGET_DIR)/tidegate.cdx.json

.PHONY: soak
# Parts of the soak, for example SOAK="schedules"; all when it is empty.
SOAK ?=
soak: setup guests ## Run the long tests, hours of them (SOAK="PART..." chooses, SOAK_CYCLES=N is how often)
	@scripts/soak $(SOAK)

.PHONY: clean-cache
clean-cache: ## Remove the compiler kit, the runtimes, the installed peers and the demo's data
	rm -rf $(TIDEGATE_CACHE)
