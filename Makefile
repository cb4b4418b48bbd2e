# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make their own environment.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Commands need the package alone, a quarter of what its developers do.
PACKAGE := $(VENV)/.installed
DEVELOPER := $(VENV)/.installed-for-development
# Where this is set, every process compiles all the Python that it imports, 8 s of the 12 that its imports take then; the
# tests start many.
export PYTHONDONTWRITEBYTECODE :=
# In order, the heavy files first, so that none is begun when the others are done. One process for each core: with two, the
# suite takes a sixth longer.
HEAVY := tests/commands tests/studies tests/theory tests/test_notebooks.py tests/experiment
TESTS := $(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder $(HEAVY) tests eosmodel --doctest-modules --ignore=tests/benchmarks

# The theories beside the experiment: river is measured once for all tuners, then predicts each in milliseconds.
DEMO := oscillation river valley valley-frozen edge-only gradient-flow

# One network of each kind with 10⁵ to 3·10⁵ weights: what is found on small ones, on these. All but the MLP are slow on two
# cores, and see fewer samples and three rules; their constant steps are about 1/λ at the initial weights.
LARGE := mlp cnn vgg resnet vit mixer gpt
FASHION := --data fashion-mnist --loss mse
SHORT := --steps 100 --tuners armijo sps-max
large-mlp := $(FASHION) --samples 1000 --net mlp --width 200 --depth 3 --steps 300
large-cnn := $(FASHION) --samples 100 --net cnn --width 72 --depth 3 $(SHORT) constant:0.16
large-vgg := $(FASHION) --samples 50 --net vgg --width 16 --depth 4 $(SHORT) constant:0.7
large-resnet := $(FASHION) --samples 50 --net resnet --width 20 --depth 1 $(SHORT) constant:0.004
large-vit := $(FASHION) --samples 100 --net vit --width 64 --depth 2 $(SHORT) constant:0.0035
large-mixer := $(FASHION) --samples 100 --net mixer --width 80 --depth 2 $(SHORT) constant:0.025
large-gpt := --data markov --samples 50 --net gpt --width 64 --depth 2 --loss ce $(SHORT) constant:0.02

.PHONY: setup demo sweep validate study-large figures notebooks docs test test-slow wheel-test release bench lint clean help FORCE

help:
	@echo "make demo       train digits under six tuners, compare with theory; results in runs/demo/"
	@echo "make sweep      tuners, batch sizes and seeds on digits, on two cores; results in runs/sweep/"
	@echo "make validate   theories against runs over networks, losses and tuners; most of a day; results in runs/validation/"
	@echo "make study-large  claims and theories on networks of 10⁵ weights and more; a night; results in runs/large/"
	@echo "make figures    the figures of the field; results in runs/figures/"
	@echo "make notebooks  execute the notebooks and write them beside their sources"
	@echo "make docs       build the documentation from the docstrings and eosmodel/docs; open runs/docs/index.html"
	@echo "make test       run the test suite"
	@echo "make test-slow  run the slow studies as well"
	@echo "make wheel-test build the wheel and the source distribution and run eosmodel from them, in an empty environment"
	@echo "make release    all checks, then the distributions in dist/ and a tag; says how to publish them"
	@echo "make bench      run the benchmarks (ratios within one run)"
	@echo "make lint       ruff and mypy"
	@echo "make setup      only make the environment in .venv, with all that developers need"
	@echo "make clean      remove the environment and caches; results in runs/ stay"

setup: $(DEVELOPER)

$(PACKAGE): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("eosmodel needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@# Bytecode of all that is installed would be half of the time; it is made of what is used.
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	@touch $@

$(DEVELOPER): $(PACKAGE)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: $(PACKAGE)
	$(BIN)/eosmodel compare --theories $(DEMO) --out runs/demo --workers 2 --resume

sweep: $(PACKAGE)
	$(BIN)/eosmodel sweep --out runs/sweep --workers 2 --resume

validate: $(PACKAGE)
	$(BIN)/eosmodel validate --out runs/validation --workers 2 --resume

study-large: $(LARGE:%=runs/large/%)
	$(BIN)/eosmodel report $(LARGE:%=runs/large/%) --out runs/large

runs/large/%: $(PACKAGE) FORCE
	$(BIN)/eosmodel compare $(large-$*) --seeds 11 --theories oscillation edge-only gradient-flow --out $@ --resume

FORCE:

figures: $(PACKAGE)
	$(BIN)/python -m paper_figures

notebooks: $(DEVELOPER)
	$(BIN)/python notebooks/execute.py

docs: $(DEVELOPER)
	$(BIN)/sphinx-build -q -W --keep-going eosmodel/docs runs/docs

test: $(DEVELOPER)
	$(TESTS) -m "not slow"

test-slow: $(DEVELOPER)
	$(TESTS)

wheel-test:
	$(PYTHON) .ci/distributions.py

release: lint test wheel-test
	$(BIN)/python .ci/release.py

bench: $(DEVELOPER)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-columns=median,iqr,rounds --benchmark-sort=name

lint: $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
