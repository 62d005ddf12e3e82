# The commands people run. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help needs demo test prove lint sim

ISSUE ?= 02
SEEDS ?= 100
FROM ?= 1

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

needs: ## install what building needs, or say exactly what is missing
	@.ci/needs

demo: needs ## a manager and five members on loopback: joins, leaves, an eviction
	cargo build --release --locked --package agent
	target/release/conclave demo $(DEMO)

lint: needs ## format, clippy and documentation, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	.ci/guards

test: needs lint ## everything that must hold before a change lands, in under 15 minutes on two cores
	cargo test --workspace --locked

sim: needs ## SEEDS seeds of ten minutes of fifty simulated nodes, from FROM on
	cargo build --profile sim --locked --package integration --bin sim
	target/sim/sim --seeds $(SEEDS) --from $(FROM)

prove: needs ## every line under "It must show" of ISSUE, as `line | figure | limit | ok`
	cargo build --release --locked --workspace
	cargo build --profile sim --locked --package integration --bin sim
	target/release/prove $(ISSUE)
