# One word each; `make` alone lists them. PYTHON is the interpreter that .venv is made from.
PYTHON ?= python3
BIN := .venv/bin
RESULTS := .bench/latest.json
# processes that read pages of the site: with more of them it ends sooner, but what its cells time takes longer
JOBS ?= 1
MINUTES ?= 10

.PHONY: help build bench figures test lint stubs trust asan ubsan valgrind checked coverage fuzz mutants emulated parallel aarch64 report smoke docs docs-test package wheel clean

help:  ## list the targets
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "setuptools>=77" "Cython>=3.3"
	FASTML_BUILD=python $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	@touch $@

build: .venv/ready  ## set up .venv if need be, and compile what changed in src/fastml/_core
	@rm -f src/fastml/_core/*/*.so  # those of a build with other flags would look up to date
	$(BIN)/python setup.py --quiet build_ext --inplace

bench: build  ## time every kernel against NumPy and what else is installed; ends with the table
	@mkdir -p .bench
	$(BIN)/python -m pytest --benchmark-only --benchmark-json=$(RESULTS) -q -p no:warnings --no-summary benches
	@$(BIN)/python -m fastml.learn.report $(RESULTS)

figures: build  ## measure, in pairs, whether fastml is as much faster than its peers as it is meant to be
	$(BIN)/python -m benches.figures

test: build  ## run all tests, and each bench once as a test
	$(BIN)/python -m pytest -q

# Each builds kernels of its own, in build/, and writes docs/measured/instrumented.json; tests/instrumented.py says more.
asan ubsan checked valgrind: .venv/ready
	$(BIN)/python -m tests.instrumented $@

asan:  ## run the tests on kernels that report a wrong address
ubsan:  ## run the tests on kernels that report undefined behaviour, of integers above all
checked:  ## run the tests with indices checked, in Cython and in Numba
valgrind:  ## run the tests of Cython's rungs under Valgrind

coverage: .venv/ready  ## say which branches and lines tests run, of Python files and of kernels; needs gcov
	$(BIN)/python -m tests.covered

lint: .venv/ready  ## style, types
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint src/fastml/_core

stubs: build  ## compare the stubs with what they describe
	$(BIN)/python -m mypy.stubtest fastml --concise --ignore-missing-stub --mypy-config-file pyproject.toml \
		--allowlist .ci/stubtest.txt --ignore-unused-allowlist

mutants: build  ## put mistakes into the validation, one by one, and see if a test fails; MODULE=windows, SHARE=0.1
	OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m tests.mutants $(MODULE) --share $(or $(SHARE),1)

.venv/trust: .venv/ready
	FASTML_BUILD=python $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[trust]"
	@touch $@

trust: KEEP = --keep
trust: .venv/trust asan ubsan checked valgrind coverage fuzz mutants parallel emulated wheel  ## all of these, tests that are slow, and then docs/reliability.md anew
	$(BIN)/python -m tests.kept slow -- $(BIN)/python -m pytest -q -m slow
	$(BIN)/python -m tests.trust.report --write docs/reliability.md

.venv/fuzz: .venv/ready
	FASTML_BUILD=python $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[fuzz]"
	@touch $@

fuzz: build .venv/fuzz  ## call operations and classes with arguments that a fuzzer makes up, for MINUTES=10; KEEP=--keep
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(KEEP)

emulated: build  ## test the kernels on an emulated Nehalem and Haswell; needs qemu-x86_64
	$(BIN)/python -m tests.kept emulated -- sh -c 'for processor in Nehalem Haswell; do qemu-x86_64 -cpu $$processor \
		$(BIN)/python -m pytest -q -o timeout=3000 tests/test_rungs.py -k "cython and definition" || exit; done'

.venv/parallel: .venv/ready
	FASTML_BUILD=python $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[parallel]"
	@touch $@

parallel: build .venv/parallel  ## run each test of a kernel by four threads at once
	$(BIN)/python -m tests.parallel

aarch64: build  ## compile the kernels for aarch64, test them in an emulator; Debian, as root
	PYTHON=$(BIN)/python $(BIN)/python -m tests.kept aarch64 -- .ci/aarch64

smoke: build  ## time the small benches only: does the harness work?
	$(BIN)/python -m pytest benches --benchmark-only --benchmark-max-time=0.01 -q -k "wine or digits or breast or 1x8x8x8 or 1x20"

report: $(RESULTS)  ## write the table of the last `make bench` into the README
	$(BIN)/python -m fastml.learn.report $(RESULTS) --keep docs/measured/benches.json --write README.md

.venv/docs: .venv/ready
	FASTML_BUILD=python $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[docs]"
	@touch $@

docs: build .venv/docs  ## build the site from docs/ into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -n -q -j $(JOBS) -b html docs docs/_build/html
	@echo docs/_build/html/index.html

docs-test: docs  ## open every page of the site in Chromium: links, images, errors, a phone's width
	$(BIN)/python -m pytest -q tests/site -m slow

# The time of all files in the wheel is that of the commit, and not that of the build: the same wheel each time.
package: export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),1577836800)
package: .venv/ready  ## build the sdist, and from it the wheel; check what is inside
	rm -rf dist
	umask 022; $(BIN)/python -m build --quiet --dependency-constraints-txt .ci/constraints.txt
	$(BIN)/python .ci/check_package.py dist

# PyTorch is installed beside the wheel where .venv has it, in that version.
wheel: export NEIGHBOURS ?= $(shell $(BIN)/python -m pip freeze | sed -n 's/^\(torch==[^+]*\).*/\1/p')
wheel: build  ## build the wheel that others would install, twice, and test it in an empty environment without a compiler
	PYTHON=$(PYTHON) $(BIN)/python -m tests.kept wheel -- .ci/try_wheel

clean:  ## remove everything that was built, and .venv
	rm -rf .venv build dist .bench docs/_build src/*.egg-info src/fastml/_core/*/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
