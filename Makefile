# What to do with this repository; `make` lists it. Every goal that needs packages or tools installs them
# itself (scripts/setup), and does nothing where they are there.

.DEFAULT_GOAL := help
.PHONY: help setup demo services test simulate trials chaos smoke-compose smoke-k8s check-deployment lint gen bench clean

# Arguments for the program that a goal runs, as in: make demo ARGS="--keep"
ARGS ?=

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Arguments for the program: make demo ARGS="--keep"'

setup: ## Install everything that building and testing need (Debian and Ubuntu; elsewhere a list)
	@scripts/setup build test

demo: ## Run producer, consumer and live page in one process, and prove the result
	@scripts/setup build
	cargo run --locked --release --package roaming-lab -- $(ARGS)

services: ## Start Apache Kafka and PostgreSQL to play with, until Ctrl-C
	@scripts/setup build services
	@scripts/services up

test: lint ## Check everything and run all tests
	cargo xtask test

# What `make simulate` runs: so many seeds, from that one on, of sample lanes and of the engine's.
SEEDS ?= 10000
FIRST ?= 0

simulate: setup ## Simulate the pipeline's own code with faults from SEEDS seeds, from FIRST on
	cargo run --locked --quiet --package roaming-testkit --bin simulate -- $(FIRST) $(SEEDS) $(ARGS)

trials: setup ## Kill a producer and a consumer in the middle of a run, 20 times, and prove each run
	cargo run --locked --quiet --package roaming-testbed --bin trials -- $(ARGS)

# How long `make chaos` goes on, and the seed of its first round: by the clock where none is given.
MINUTES ?= 30
SEED ?=

chaos: setup ## Kill, freeze, cut off and fill up everything for MINUTES while runs go on, from SEED on, and prove each
	cargo run --locked --quiet --package roaming-testbed --bin chaos -- --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

smoke-compose: ## Start everything in containers, prove a run and the dashboards, take it away again
	@scripts/smoke-compose $(ARGS)

smoke-k8s: ## Deploy on the cluster that kubectl is set to, prove a run there, and take all away
	@scripts/smoke-k8s $(ARGS)

check-deployment: ## Have the Dockerfile and the manifests looked at by hadolint, checkov and kube-score
	@scripts/check-deployment

lint: setup ## Check format, lints, links in the docs, house rules, licences of dependencies
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings
	RUSTDOCFLAGS="--deny warnings --allow rustdoc::private-intra-doc-links" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	cargo xtask tidy
	.tools/bin/cargo-deny --locked check bans licenses sources

gen: ## Rewrite the files that are generated from the code
	cargo xtask gen

# Kafka gets the flags that its own scripts give it; the tests' ones start quickly and run slowly.
KAFKA_JVM ?= -Xms1g -Xmx1g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35

bench: ## Measure the engine, then both daemons on Kafka and PostgreSQL against bare clients and Kafka Streams
	@scripts/setup build test bench
	cargo bench --locked --package roaming-sim
	KAFKA_JVM="$(KAFKA_JVM)" cargo bench --locked --package roaming-testbed --bench platform
	KAFKA_JVM="$(KAFKA_JVM)" cargo bench --locked --package roaming-testbed --bench handover

clean: ## Remove everything that was built, the tools too
	rm -rf target .tools
