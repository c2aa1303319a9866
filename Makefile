# SPDX-License-Identifier: Apache-2.0
# A thin front door to meson. `make help` lists the targets.

MESON ?= /usr/bin/meson
NINJA ?= /usr/bin/ninja
BUILD ?= build
CACHE ?= $(or $(CASEMATE_CACHE),/var/cache/casemate)
# The system's own tools first: a python3 or meson of the user's may lack modules that these need.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin:$(PATH)

ASAN_OPTIONS ?= detect_leaks=1
UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
SOAK_SECONDS ?= 3600
FUZZ_SECONDS ?= 600

.PHONY: all
all: $(BUILD)/build.ninja ## build into build/
	@$(NINJA) -C $(BUILD)

$(BUILD)/build.ninja:
	$(MESON) setup $(BUILD)

build-asan/build.ninja:
	$(MESON) setup build-asan -Db_sanitize=address,undefined -Db_lundef=false

build-clang/build.ninja:
	CC=clang $(MESON) setup build-clang -Db_lundef=false

.PHONY: check
check: ## everything, as CI runs it; needs root
	./check

.PHONY: check-unprivileged
check-unprivileged: all ## what needs no root: unit tests, layers, documents, lint
	$(MESON) test -C $(BUILD) --print-errorlogs
	tools/check-layers
	tools/check-docs
	tools/lint

.PHONY: asan-build
asan-build: build-asan/build.ninja ## build with AddressSanitizer and UBSan into build-asan/
	@$(NINJA) -C build-asan

.PHONY: asan
asan: asan-build ## the unit tests with AddressSanitizer and UBSan
	ASAN_OPTIONS=$(ASAN_OPTIONS) UBSAN_OPTIONS=$(UBSAN_OPTIONS) \
	    $(MESON) test -C build-asan --print-errorlogs --timeout-multiplier 4

.PHONY: clang
clang: build-clang/build.ninja ## build with clang
	@$(NINJA) -C build-clang

.PHONY: lint
lint: ## clang-format, clang-tidy and cppcheck, as gates
	tools/lint

.PHONY: fmt
fmt: ## bring the C sources into the house format
	git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs -r clang-format -i

.PHONY: integration
integration: all ## the suites that drive the real programs; needs root. K=EXPRESSION selects
	tests/harness/fetch tests clients
	$(CACHE)/venv/tests/bin/python -m pytest -c tests/pytest.ini $(if $(K),-k '$(K)') \
	    tests/integration tests/security

.PHONY: fuzz-smoke
fuzz-smoke: build-clang/build.ninja ## replay the fuzzers' corpora
	@$(NINJA) -C build-clang
	$(MESON) test -C build-clang --suite fuzz --print-errorlogs

.PHONY: fuzz
fuzz: ## each fuzzer for FUZZ_SECONDS (600), with coverage and sanitizers
	tests/fuzz/run --seconds $(FUZZ_SECONDS)

.PHONY: bench
bench: all ## benchmarks
	$(MESON) test -C $(BUILD) --benchmark --verbose

.PHONY: dev
dev: all image ## the whole stack in the foreground, with its state in build/dev
	$(BUILD)/casemated --dev --listen 127.0.0.1:8080 --state $(BUILD)/dev

.PHONY: soak
soak: all image fuzz ## the long proofs, SOAK_SECONDS (3600) each, and fuzz; needs root
	tests/harness/fetch tests
	CASEMATE_SOAK_SECONDS=$(SOAK_SECONDS) \
	    $(CACHE)/venv/tests/bin/python -m pytest -c tests/pytest.ini -m soak tests/integration

.PHONY: image
image: ## the base image of the sandboxes; needs root
	image/build

.PHONY: gdb
gdb: all ## one unit test under gdb: make gdb T=http-h1
	$(MESON) test -C $(BUILD) --gdb $(T)

.PHONY: clean
clean: ## remove the build folders, not the cache
	rm -rf $(BUILD) build-asan build-clang build-fuzz

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20
