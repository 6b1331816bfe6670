# Everything from a fresh clone: `make demo` and `make test`. See README.md.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BUNDLE := build/films.nearhand

.PHONY: demo app cloud screens test soak torture check bench docs environments clean

# Two lanes, for two cores. What the second one says waits in a file until the first has said its part.
demo: .venv/.demo ## Train, convert, prove, merge and show, on real or sample data.
	@mkdir -p build
	@$(MAKE) --no-print-directory films-churn films-segments > build/second-lane.txt 2>&1 & \
	  $(MAKE) --no-print-directory films-als films-ranker; first=$$?; \
	  wait $$!; second=$$?; cat build/second-lane.txt; test $$first -eq 0 && test $$second -eq 0
	@$(BIN)/nearhand merge build/films-als.nearhand build/films-ranker.nearhand build/films-churn.nearhand \
	  build/films-segments.nearhand --serving model_zoo/serving.toml -o $(BUNDLE)
	@$(BIN)/python -m model_zoo show $(BUNDLE) --segments build/films-segments/segments.json

films-als: .venv/.demo
	@$(BIN)/python -m model_zoo train $@
	@$(BIN)/nearhand convert build/$@/model.npz --data build/$@ --recipe build/$@/recipe.toml -o build/$@.nearhand

films-ranker films-churn: .venv/.demo
	@$(BIN)/python -m model_zoo train $@
	@$(BIN)/nearhand convert build/$@/model.txt --rows build/$@/rows.parquet --recipe build/$@/recipe.toml \
	  -o build/$@.nearhand

films-segments: .venv/.demo
	@$(BIN)/python -m model_zoo train $@
	@$(BIN)/nearhand convert build/$@/model.skops --rows build/$@/rows.parquet --recipe build/$@/recipe.toml \
	  -o build/$@.nearhand

films-heavy: .venv/.demo ## The bundle that a server ranks with: build/films-heavy.nearhand; see docs/HEAVY.md.
	@$(BIN)/python -m model_zoo train $@
	@$(BIN)/nearhand convert build/$@/als/model.npz --data build/$@/als --recipe build/$@/als/recipe.toml \
	  --target onnx --quantize fp32 -o build/$@/als.nearhand
	@$(BIN)/nearhand convert build/$@/model.txt --rows build/$@/rows.parquet --recipe build/$@/recipe.toml \
	  --target onnx -o build/$@/ranker.nearhand
	@$(BIN)/nearhand merge build/$@/als.nearhand build/$@/ranker.nearhand --serving model_zoo/films_heavy/serving.toml \
	  -o build/$@.nearhand

app: .venv/.app ## The films app on http://127.0.0.1:8550, in a browser of this machine; nothing of it needs a network.
	@test -f $(BUNDLE) || $(MAKE) --no-print-directory demo
	@FILMS_BUNDLE=$(BUNDLE) $(BIN)/python -m films_app.web

cloud: .venv/.cloud ## The endpoint on http://127.0.0.1:8700, for development: its data in build/cloud, its key "development".
	$(BIN)/python -m nearhand_cloud --data build/cloud --write-key development

screens: .venv/.app .venv/.cloud ## Pictures of every screen of the films app, in dark and in light, into docs/screens; needs Chromium.
	@test -f $(BUNDLE) || $(MAKE) --no-print-directory demo
	$(BIN)/python -m tests.demo_app.screens $(BUNDLE) docs/screens

# Two processes, each of which takes one file of tests after another, in the order of the files: those that take minutes
# are the first ones, and of a file all share what it trains or compiles. Benchmarks never run beside anything, so their
# plugin stays out. Threads of OpenMP that wait must not take the time of the other process.
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --ignore tests/benchmarks -p no:benchmark --durations=25 \
  --numprocesses auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder

test: .venv/.test ## All tests but the long ones and the benchmarks.
	$(PYTEST)

soak: .venv/.test ## The longer tests: every failing call, a hundred kills, thousands of users, emulated processors.
	$(PYTEST) -m "soak and not torture"

torture: .venv/.test ## The long suites: 5,000 streams of events per operator, 1,000 random kills, 10,000 random trees.
	$(BIN)/python -m pytest -m torture

check: .venv/.test ## Lint, types, import floors.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.test ## Ratios against named peers, in one run; and the times that the films app promises.
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only
	$(BIN)/python -m pytest -m timed tests/demo_app -p no:benchmark

docs: .venv/.test ## Regenerate every generated part of README and docs, pictures of the films app too; needs Chromium.
	@mkdir -p build
	$(BIN)/python docs/generate.py cli
	$(BIN)/python docs/generate.py features
	$(BIN)/python -m tests.conformance.matrix build/conversion.json
	$(BIN)/python docs/generate.py conversion build/conversion.json
	$(MAKE) --no-print-directory demo > build/demo.txt
	$(BIN)/python docs/generate.py demo build/demo.txt
	$(MAKE) --no-print-directory bench > build/bench.txt
	$(BIN)/python docs/generate.py bench build/bench.txt
	$(MAKE) --no-print-directory screens

environments: .venv/.test ## Emulated x86 without VNNI, emulated ARM64 and older runtimes, for the conformance tests.
	$(BIN)/python -m tests.environments prepare

clean: ## Remove what was built; keeps the virtual environment.
	rm -rf build

# One virtual environment. `demo` needs no test tools and no PyTorch; `test` adds to it.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml converters/pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --constraint constraints.txt pip
	$(PIP) install --constraint constraints.txt --group zoo --editable . --editable ./converters
	@touch $@

.venv/.app: .venv/.demo demo_app/pyproject.toml
	$(PIP) install --constraint constraints.txt setuptools --group app --editable . --editable ./demo_app
	@touch $@

.venv/.cloud: .venv/.demo cloud/pyproject.toml
	$(PIP) install --constraint constraints.txt setuptools --editable . --editable "./cloud[kafka,redis,heavy]"
	@touch $@

.venv/.test: .venv/.demo .venv/.app .venv/.cloud
	$(PIP) install --constraint constraints.txt setuptools --group test --group check --editable . --editable ./converters
	@touch $@
