# onbeat: two commands need nothing but Python >= 3.12.
#   make record    build .venv, install, record 3 episodes of the built-in environment
#   make test      install, then lint, types, import rules and tests
#   make acceptance  the long proofs beside stock LeRobot
#   make drills    kill, cut, fill and fuzz a recording in 47 ways and count what is lost
# Flags for any: make record ARGS="--dataset.num_episodes=2"   make test ARGS="-k codec"

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.13 test` chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
ARGS ?=
PYTEST := $(BIN)/python -m pytest
# Half the processors: what runs beside a loop must leave it one.
HALF := $(shell n=$$(nproc); echo $$(( n > 3 ? n / 2 : 1 )))

.PHONY: record test acceptance lint drills bench bench-arm bench-journal bench-publish microbench lock clean

record: $(READY)
	$(BIN)/onbeat record $(ARGS)

test: $(READY) lint
	$(PYTEST) --acceptance=not --serial=not -n auto --dist worksteal $(ARGS) || [ $$? -eq 5 ] # 5: ARGS chose none of these
	$(PYTEST) --acceptance=not --serial=only -n $(HALF) --dist worksteal $(ARGS) || [ $$? -eq 5 ]

# Some ten minutes: policies, HIL-SERL, uploads, viewers and emulated arms, each against stock LeRobot.
acceptance: $(READY)
	$(PYTEST) --acceptance=only --serial=not -n $(HALF) --dist worksteal $(ARGS) || [ $$? -eq 5 ]
	$(PYTEST) --acceptance=only --serial=only $(ARGS) || [ $$? -eq 5 ]

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

drills: $(READY)
	$(BIN)/python -m scripts.drills $(ARGS)

# Eighty minutes; ARGS=--quick takes about five. The others: an emulated arm with and without cameras and beside stock,
# what the journal costs, what the loop adds to a copy, and what small parts cost.
bench: $(READY)
	$(BIN)/python -m scripts.bench $(ARGS)

bench-arm: $(READY)
	$(BIN)/python -m scripts.bench_arm $(ARGS)

bench-journal: $(READY)
	$(BIN)/python -m scripts.bench_journal $(ARGS)

bench-publish: $(READY)
	$(BIN)/python scripts/bench_publish.py $(ARGS)

microbench: $(READY)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only $(ARGS)

# uv comes first, from the same hashed list: with it the rest installs in seconds. The certificates are the system's,
# as pip's are, so that a machine behind a proxy of its own works.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "onbeat needs Python >= 3.12 and found none; install it or run make PYTHON=/path/to/python"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^[^ #]/ {keep = /^uv==/} keep' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . \
		--editable scripts/emulators/lerobot_camera_testfile
	touch $@

# Writes requirements.lock anew from pyproject.toml, without the address of any index.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes \
		--no-annotate --no-header --all-extras pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache out
