# The two commands are `sudo make demo` and `sudo make check`. Each target first installs what it needs and does not find, on
# Debian and as root; elsewhere it says what is missing.

SHELL := /bin/bash
.NOTPARALLEL:
.DELETE_ON_ERROR:

# sudo drops ~/.cargo/bin from PATH. Where root has no cargo of its own, take that of whoever called sudo. rustup's cargo looks
# for its toolchains in $HOME, which sudo changes too.
ifeq ($(shell command -v cargo 2>/dev/null),)
ifneq ($(SUDO_USER),)
caller := $(shell getent passwd '$(SUDO_USER)' | cut -d: -f6)
export PATH := $(caller)/.cargo/bin:$(PATH)
ifeq ($(RUSTUP_HOME),)
export RUSTUP_HOME := $(caller)/.rustup
endif
endif
endif

# The trees that check-root boots: all that have a recipe, unless told otherwise.
TREES ?= $(shell images/build-tree --list)

# What cargo-fuzz calls, one after another, and for how long each.
FUZZ_TARGETS ?= $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))
FUZZ_SECONDS ?= 600

# The tests in single files are of the first tier: tests/root and tests/vm, directories, are the others.
UNIT_TESTS := $(patsubst tests/%.rs,--test %,$(wildcard tests/*.rs))

.PHONY: help
help:
	@echo 'sudo make demo      boot Debian 13, look at it, power it off'
	@echo 'sudo make check     all tests: check-unit (no root needed), check-root, check-bus, check-vm'
	@echo 'sudo make bench     measure Spinney beside systemd-nspawn, runc, lxc and bubblewrap'
	@echo 'make build          target/release/spinney'
	@echo 'sudo make trees     the test trees; TREES="debian-13 busybox" for some'
	@echo 'make install        what make build has built; PREFIX=/usr/local DESTDIR='
	@echo 'make deb            target/package/spinney_VERSION_ARCHITECTURE.deb'
	@echo 'make rpm            target/package/spinney-VERSION-1.ARCHITECTURE.rpm'
	@echo 'make lint           rustfmt, clippy, shellcheck'
	@echo 'make fuzz           throw bytes at what reads those of strangers; FUZZ_SECONDS=600 for each target'
	@echo 'make clean          removes target/; the trees are under /var/cache/spinney'

# Linked statically: a start, and each fork on its way, does without the dynamic linker's work, a tenth of the time that
# /bin/true takes in a machine. `cargo build` makes the same program dynamic.
.PHONY: build
build:
	@tests/setup build
	cargo rustc --release --locked --bin spinney -- -C target-feature=+crt-static

# What is installed: by default what `make build` has made. See docs/install.md.
PREFIX ?= /usr/local
.PHONY: install
install:
	packaging/install --destdir '$(DESTDIR)' --prefix '$(PREFIX)' --program '$(or $(PROGRAM),target/release/spinney)'

# Packages have a program that is linked dynamically: of a static one glibc's resolver loads modules of the host it runs on, which
# may have another glibc than the one where it was built.
.PHONY: deb rpm
deb rpm:
	@tests/setup build package
ifeq ($(PROGRAM),)
	cargo build --release --locked --bin spinney
	install -D target/release/spinney target/package/spinney
endif
	packaging/$@ --program '$(or $(PROGRAM),target/package/spinney)'

.PHONY: demo
demo:
	@tests/setup build trees
	demo/run

.PHONY: check check-unit check-root check-bus check-vm
check: check-unit check-root check-bus check-vm

check-unit:
	@tests/setup build unit
	tests/tier $@ sh -c 'cargo test --locked --no-fail-fast --lib --bins $(UNIT_TESTS) && cargo test --locked --doc'

check-root: trees
	@tests/setup build root
	@set -e; for tree in $(filter debian-12 debian-13,$(TREES)); do tests/repository $$tree; done
	tests/tier $@ cargo test --locked --test root -- --tap

check-bus: trees
	@tests/setup build root bus
	tests/tier $@ cargo test --locked --test root -- --tap --bus

check-vm:
	@tests/setup build vm
	tests/tier $@ tests/vm/run

.PHONY: bench
bench:
	@tests/setup build trees bench
	benches/run

.PHONY: trees
trees:
	@tests/setup trees
	images/build-tree $(TREES)

.PHONY: lint
lint:
	@tests/setup build lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	shellcheck --external-sources $$(grep -rlIE --exclude-dir=target --exclude-dir=.git '^#!/bin/(ba)?sh' .) $(wildcard images/trees/*.sh)
	shellcheck --shell=bash --exclude=SC1091,SC2034,SC2154 images/trees/*.recipe

# It begins with fuzz/corpus, which tests/corpus.rs replays, and keeps what it learns in target/fuzz. What it finds is in
# fuzz/artifacts. As root, whose archives could do most; `extract` works below /dev/shm. Leaks are not looked for: threads that are
# still ending when they are counted look like some.
.PHONY: fuzz
fuzz:
	@cargo +nightly --version >/dev/null 2>&1 || { echo 'make fuzz needs the nightly toolchain: rustup toolchain install nightly' >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo 'make fuzz needs cargo-fuzz: cargo install --locked cargo-fuzz' >&2; exit 1; }
	cargo +nightly fuzz build
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/$$target; \
		seeds=fuzz/corpus/$$target; [ $$target != extract ] || seeds="$$seeds fuzz/corpus/tar"; \
		cargo +nightly fuzz run $$target target/fuzz/$$target $$seeds -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -detect_leaks=0 -print_final_stats=1; \
	done

.PHONY: clean
clean:
	cargo clean
