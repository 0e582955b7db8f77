# What a newcomer needs; every target says so in `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
, := ,
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNNABLE := $(VENV)/.runnable
INSTALLED := $(VENV)/.installed

RAW := data/raw/ml-100k
DATASET := data/ml-100k
BUNDLE := bundles/din-ml-100k
URL ?= http://127.0.0.1:8000
USERS ?= 16
DURATION ?= 30s
BENCH_DATA ?= $(DATASET)
BENCH_LIBRARIES := .bench/fuxictr/.installed .bench/deepctr/.installed
BENCH_SERVERS := .bench/bentoml/.installed .bench/litserve/.installed
BENCH_OPTIONS ?=
AUDIT ?= required
HASHES ?= required
BUILDER ?= urn:dinrank:builder:make-wheel
CHAOS_OPTIONS ?=
FUZZ_OPTIONS ?=

.PHONY: help install demo serve test check long e2e pictures site docs fuzz format load bench bench-training chaos wheel images lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## .venv with everything that development needs

# What pip installs with $(call PINNED,LOCK,EXTRAS): files with the hashes of requirements/LOCK.txt. HASHES=skip goes by
# versions alone, for an index that builds its files itself. The build of torch is the index's own choice either way.
PIP := $(BIN)/python -m pip install --quiet
PINNED = $(if $(filter skip,$(HASHES)),--constraint constraints.txt --editable '.[$(2)]',--require-hashes --requirement requirements/$(1).txt)

# Two steps, so that the first ranking does not wait for tools of development.
$(RUNNABLE): pyproject.toml constraints.txt requirements/demo.txt
	@echo "installing into $(VENV), with torch and onnxruntime: two minutes or more"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(call PINNED,demo,demo$(,)training)
	$(PIP) --constraint constraints.txt torch
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED): $(RUNNABLE) requirements/dev.txt
	$(PIP) $(call PINNED,dev,dev)
	@touch $@

demo: $(RUNNABLE) $(BUNDLE) ## MovieLens-100K from download to a ranking, in one go; leaves nothing running
	$(BIN)/python -m service demo --bundle $(BUNDLE) --data $(DATASET)

serve: $(RUNNABLE) $(BUNDLE) ## the demo's service, kept up until Ctrl-C
	$(BIN)/python -m service publish --bundle $(BUNDLE) --data $(DATASET)
	$(BIN)/python -m service serve --bundle $(BUNDLE)

# A checkpoint beside the bundle says that its training was killed: there is something left to do, bundle or not.
ifneq ($(wildcard $(BUNDLE).checkpoint),)
.PHONY: $(BUNDLE)
endif

$(BUNDLE): | $(DATASET)
	$(BIN)/python -m training train --data $(DATASET) --model din --out $@ --resume --or-anew

$(DATASET): | $(RAW)
	$(BIN)/python -m training prepare movielens-100k $(RAW) $@

$(RAW): | $(RUNNABLE)
	$(BIN)/python -m training fetch $@

AUDIT_required := $(BIN)/python -m tests.dependency_audit constraints.txt --memory $(VENV)/.audited
AUDIT_unreachable-ok := $(AUDIT_required) --unreachable-ok
AUDIT_skip := @echo "audit: NOT DONE, as AUDIT=skip says"

check: $(INSTALLED) ## lint, format, types, spelling, and what is known against pinned versions: make check AUDIT=unreachable-ok
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(or $(AUDIT_$(AUDIT)),$(error AUDIT is required$(,) unreachable-ok or skip$(,) not $(AUDIT)))

site: $(INSTALLED) ## the documents as a web site in site/; a link that leads nowhere is an error
	$(PIP) $(call PINNED,docs,docs)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs: site ## the same, and every command and code block of README and documents executed
	$(BIN)/python -m pytest tests/docs --numprocesses 2 --dist worksteal

fuzz: $(INSTALLED) ## 100,000 hostile requests over real sockets: make fuzz FUZZ_OPTIONS="--requests 5000"
	$(BIN)/python -m tests.fuzz $(FUZZ_OPTIONS)

# A newcomer's machine may reach a package registry and nothing else: here the audit may be impossible, and says so.
test: AUDIT = unreachable-ok
test: check ## everything that must hold before a change lands
	$(BIN)/python -m pytest --numprocesses logical --dist worksteal

long: $(INSTALLED) ## tests that `make test` leaves out for their time: online = offline for every further network; three minutes
	$(BIN)/python -m pytest --numprocesses logical --dist worksteal -m long

e2e: $(INSTALLED) ## the playground, clicked through in Chromium, which must be installed; three minutes
	$(PIP) $(call PINNED,e2e,e2e)
	$(BIN)/python -m pytest tests/e2e

pictures: ## the same, and the screenshots of the documents made anew
	DINRANK_PICTURES=1 $(MAKE) e2e

format: $(INSTALLED) ## lay the code out as `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

load: $(INSTALLED) ## load on a running service, bounded in time: make load URL=... USERS=16 DURATION=30s
	$(BIN)/locust --locustfile tests/load/locustfile.py --headless --only-summary --bundle $(BUNDLE) \
		--host $(URL) --users $(USERS) --spawn-rate $(USERS) --run-time $(DURATION)

bench: $(INSTALLED) $(BENCH_SERVERS) ## scoring and the service against what people write today: make bench BENCH_OPTIONS=--quick
	$(BIN)/python -m bench.serving $(BENCH_OPTIONS)

bench-training: $(INSTALLED) $(BENCH_LIBRARIES) | $(BENCH_DATA) ## training throughput against FuxiCTR and DeepCTR-Torch: make bench-training BENCH_DATA=...
	$(BIN)/python -m bench.training_throughput --data $(BENCH_DATA)

chaos: $(INSTALLED) ## every fault of docs/reliability.md for real under load, about five minutes: make chaos CHAOS_OPTIONS="--only Redis"
	$(BIN)/python -m tests.chaos $(CHAOS_OPTIONS)

wheel: $(INSTALLED) ## dist/ with wheel, source distribution, SBOMs and provenance, see docs/releasing.md
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist
	$(BIN)/python -m release.sbom dist
	$(BIN)/python -m release.provenance dist --builder $(BUILDER)

images: ## the images of service and trainer with attestations of SBOM and provenance, into dist/; needs docker buildx
	mkdir -p dist
	for image in service trainer; do \
		docker buildx build --file docker/$$image.Dockerfile --sbom=true --provenance=mode=max \
			--tag dinrank-$$image --output type=oci,dest=dist/dinrank-$$image.oci.tar . || exit 1; \
	done

lock: $(INSTALLED) ## requirements/ anew, after a change of pyproject.toml or constraints.txt; needs PyPI
	$(PIP) 'uv>=0.13,<1'
	PATH=$(CURDIR)/$(BIN):$$PATH requirements/lock.sh

.bench/%/.installed: bench/requirements-%.txt
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/python -m pip install --quiet --requirement $<
	@touch $@

clean: ## remove the demo's data and bundle, but not the environment
	rm -rf data bundles bundles/*.report.json
