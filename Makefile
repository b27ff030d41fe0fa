# Every target works from a clean clone with python3 (and venv), gcc and make.
PYTHON ?= python3
JOBS ?= 4
VENV := .venv
BIN := $(VENV)/bin
CFLAGS_STRICT := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Werror -fvisibility=hidden -pthread -Inative/include -Inative
C_SOURCES := $(wildcard native/*.c)
C_ALL := $(C_SOURCES) $(wildcard native/*.h native/include/*.h native/arch/*.h)
C_TESTS := $(patsubst native/tests/%.c,build/native/%,$(wildcard native/tests/test_*.c))
# Debian's cross compilers, by their plain or versioned name: the plain ones exclude gcc-multilib.
CROSS := $(foreach arch,aarch64 riscv64,$(firstword $(wildcard /usr/bin/$(arch)-linux-gnu-gcc /usr/bin/$(arch)-linux-gnu-gcc-1?)))
SOURCES := pyproject.toml CMakeLists.txt $(C_ALL) $(shell find src -name '*.py' -o -name py.typed)

.PHONY: demo test check check-python check-native bench native clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.tests
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_FLAGS)

check: check-native check-python

check-python: $(VENV)/.checks
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=src $(BIN)/lint-imports

check-native: $(C_TESTS)
	gcc $(CFLAGS_STRICT) -O2 -fanalyzer -fsyntax-only $(C_SOURCES)
	for cc in $(CROSS); do \
		if command -v $$cc >/dev/null; then echo $$cc; $$cc $(CFLAGS_STRICT) -O2 -fsyntax-only $(C_SOURCES) || exit 1; fi; \
	done
	for test in $(C_TESTS); do echo $$test; timeout 120 $$test || exit 1; done

# Measures, and writes docs/explanation/benchmarks.{md,svg}; see `make bench ARGS=--help`.
ARGS ?= --write
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.bench $(value ARGS)

# The developer's build: straight into the source tree, for PYTHONPATH=src.
native: src/diorama/engine/libdiorama.so

src/diorama/engine/libdiorama.so: $(C_ALL)
	gcc $(CFLAGS_STRICT) -O2 -g -fPIC -shared -o $@.new $(C_SOURCES)
	mv $@.new $@

build/native/%: native/tests/%.c $(C_ALL) $(wildcard native/tests/*.h)
	@mkdir -p $(@D)
	gcc $(CFLAGS_STRICT) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -o $@ $< $(C_SOURCES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Installed, not editable: what is tested and shown is what a user gets.
$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet .
	touch $@

$(VENV)/.tests: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.checks: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[test,check]'
	touch $@ $(VENV)/.installed $(VENV)/.tests

$(VENV)/.bench: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[bench]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build .demo .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f src/diorama/engine/libdiorama.so
