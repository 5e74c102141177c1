# edgeai: `make demo` shows it at work, `make test` proves it, `make quick` is for between two changes, `make check` is
# the gate, `make bench` measures.
# Every target sets up what it needs; nothing is installed outside this folder.

PYTHON ?= python3
VENV ?= .venv
BACKEND ?= auto
ARGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q
# A worker runs one file after another, the longest first (tests/conftest.py). Many tests wait for processes of their own:
# one worker more than two cores. WORKERS=8 for a machine that has more.
WORKERS ?= 3
# Where all of them are: to look for them everywhere takes each worker half a minute.
SYSTEM_TESTS := tests/system tests/torture plugins/edgeai-update/tests
PARALLEL := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0
PINS := -c .ci/constraints.txt
# As pip does with what it copies; an editable install it leaves as sources, which each start would read anew.
COMPILE := $(PY) -m compileall -q edgeai plugins
RUNTIME_VENV := .venv-tflite-runtime
DEVICE_PLUGINS := -e "plugins/edgeai-tflite[litert]" -e plugins/edgeai-openvino -e plugins/edgeai-transforms -e plugins/edgeai-tasks
# What a cart is given, in the guide, the container and the wheelhouse alike; a test holds them to what ships.
CART_PLUGINS := ./plugins/edgeai-tflite[litert] ./plugins/edgeai-openvino ./plugins/edgeai-transforms ./plugins/edgeai-tasks[segment]
WHEELHOUSE ?= var/wheelhouse
DEB ?= var/deb
BUILD_PLUGINS := -e "plugins/edgeai-tflite[litert,build]" -e "plugins/edgeai-openvino[build]" -e plugins/edgeai-transforms -e "plugins/edgeai-tasks[segment,build]" -e plugins/edgeai-gpu -e plugins/edgeai-keras -e plugins/edgeai-workbench -e "plugins/edgeai-fleet[postgresql]" -e plugins/edgeai-update tf_keras
# Where the tests of tflite-runtime look for its interpreter.
RUNTIME_PYTHON = EDGEAI_TFLITE_RUNTIME_PYTHON="$${EDGEAI_TFLITE_RUNTIME_PYTHON:-$(abspath $(RUNTIME_VENV))/bin/python}"
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) .ci/constraints.txt
PACKAGES := edgeai_keras edgeai_tflite edgeai_openvino edgeai_gpu edgeai_transforms edgeai_tasks edgeai_workbench edgeai_fleet edgeai_update

.DEFAULT_GOAL := help
.PHONY: demo demo-fleet test mutants torture check quick unit cart-tests lint bench wheelhouse deb deb-test clean help

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(VENV)/.demo ## A broker, a cart and real ultrasound, CT and MR files in one terminal; BACKEND=tflite|openvino
	$(PY) -m edgeai demo --backend $(BACKEND) $(ARGS)

demo-fleet: $(VENV)/.demo-fleet ## Three carts, a rollout that goes through and one that is undone; BACKEND=tflite|openvino
	$(PY) -m edgeai fleet demo --backend $(or $(filter-out auto,$(BACKEND)),tflite) $(ARGS)

# The system tests mostly wait: the others run beside them, take what they leave of the processor (nice) and hide nothing of
# theirs, which is shown at the end. pytest's status 5 is "no such test": with ARGS one part may say so.
test: $(VENV)/.dev $(RUNTIME_VENV)/.ready ## All tests; those whose engine or peer is absent say so
	@printed=$$(mktemp); trap 'wait; rm -f "$$printed"; exit 130' INT; \
	$(PARALLEL) -m "system and not torture" $(or $(ARGS),$(SYSTEM_TESTS)) >"$$printed" 2>&1 & system=$$!; \
	$(RUNTIME_PYTHON) nice -n 5 $(PARALLEL) -m "not system and not torture" $(ARGS); others=$$?; \
	wait $$system; system=$$?; echo "The system tests:"; cat "$$printed"; rm -f "$$printed"; \
	case "$$others $$system" in "0 0"|"0 5"|"5 0") exit 0;; esac; \
	echo "Tests failed: pytest ended with status $$system in the system tests, and $$others in all others"; exit 1

mutants: $(VENV)/.dev ## Do the tests notice mistakes? A sample of mutants, by a seed; ARGS="--seed 7 --target walk"
	$(PY) tests/mutants $(ARGS)

torture: $(VENV)/.dev ## All that `make test` tries a part of; the ledger after 200 kills, each bit of a bundle, an update cut off and a conductor killed at every point twenty times, rollouts to simulated carts, and the long soak; its curves in var/torture/soak.csv
	$(PARALLEL) -m torture $(ARGS)
	! python3.12 -c '' 2>/dev/null || $(MAKE) cart-tests PYTHON=python3.12 VENV=.venv-3.12
	EDGEAI_TORTURE_KILLS=200 $(PY) -m pytest tests/system/test_ledger.py -s $(ARGS)
	EDGEAI_TORTURE_EXAMPLES=1000 $(PARALLEL) tests/fuzz --timeout 14400 $(ARGS)
	EDGEAI_TORTURE_BITS=1 $(PY) -m pytest tests/unit/test_bundle_bits.py -s $(ARGS)
	EDGEAI_TORTURE_UPDATES=20 $(PY) -m pytest plugins/edgeai-update/tests/test_kills.py -s --timeout 14400 $(ARGS)
	EDGEAI_TORTURE_UPDATES=20 $(PY) -m pytest tests/roles/test_slots_kills.py -n 4 --dist load -rP --timeout 14400 $(ARGS)
	EDGEAI_TORTURE_CONDUCT=20 $(PY) -m pytest plugins/edgeai-fleet/tests/test_conduct_processes.py -s $(ARGS)
	EDGEAI_TORTURE_FLEET=1 $(PY) -m pytest tests/system/test_fleet.py -s --timeout 3600 $(ARGS)
	EDGEAI_SOAK=full EDGEAI_SOAK_CSV=var/torture/soak.csv $(PY) -m pytest tests/torture -s --timeout 14400 $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, import contracts
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(addprefix -p ,edgeai $(PACKAGES))
	$(VENV)/bin/lint-imports

check: lint test ## The gate: lint and all tests

unit: $(VENV)/.dev
	$(PARALLEL) -m "not system and not slow and not torture" tests/unit tests/test_house.py $(ARGS)

# What a cart runs and another Python might do otherwise: TLS, MQTT, SQLite, TOML, logs, bundles, an engine. Without the
# build host's packages (TensorFlow and others), so that each Python takes minutes. MORE= leaves out the files beside the
# first of each kind, as with test_spool_faults.py beside test_spool.py.
MORE = *
CART_TESTS = $(foreach name,bundle_keys bundle_signing certificates cli_infer config jsonl logs mqtt outbox privacy spool tls,\
	$(wildcard tests/unit/test_$(name)$(MORE).py))
cart-tests: $(VENV)/.cart-tests
	$(PARALLEL) -m "not system and not torture" $(CART_TESTS) $(ARGS)

quick: lint unit ## Lint and the unit tests but the slow ones: for between two changes

bench: $(VENV)/.dev ## One table of ratios, each to a limit measured in the same run
	$(PY) -m benchmarks $(ARGS)

wheelhouse: $(VENV)/.base ## A folder that installs a cart without an index: WHEELHOUSE=var/wheelhouse; for this Python and CPU
	@rm -rf "$(WHEELHOUSE)"
	@$(PIP) wheel $(PINS) --no-build-isolation -w "$(WHEELHOUSE)" . $(patsubst %,'%',$(CART_PLUGINS))
	@cd "$(WHEELHOUSE)" && sha256sum -- *.whl > SHA256SUMS
	@echo "$$(ls "$(WHEELHOUSE)"/*.whl | wc -l) wheels, $$(du -sh "$(WHEELHOUSE)" | cut -f1), in $(WHEELHOUSE)"

deb: wheelhouse ## A Debian package of a cart, of that folder of wheels: DEB=var/deb; for this Python and CPU
	@PYTHON=$(PY) firmware-configs/debian/build.sh "$(WHEELHOUSE)" "$(DEB)"

deb-test: $(VENV)/.dev deb ## Installs, starts, upgrades with a full spool, removes and purges it on a machine over this one
	EDGEAI_DEB="$(DEB)" $(PY) -m pytest tests/system/test_deb.py -s $(ARGS)

clean: ## Remove the environments and what the demo wrote
	rm -rf $(VENV) $(RUNTIME_VENV) .venv-3.1? demo-output var

$(VENV)/.base: .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "edgeai needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(PIP) install $(PINS) hatchling editables
	@touch $@

$(VENV)/.demo: $(VENV)/.base $(PROJECTS)
	@echo "Installing edgeai, LiteRT, OpenVINO and OpenCV into $(VENV) (about a minute, once)"
	@$(PIP) install $(PINS) --no-build-isolation -e ".[demo]" $(DEVICE_PLUGINS)
	@$(COMPILE)
	@touch $@

$(VENV)/.demo-fleet: $(VENV)/.demo
	@$(PIP) install $(PINS) --no-build-isolation -e "plugins/edgeai-fleet[conduct]" -e plugins/edgeai-update
	@touch $@

$(VENV)/.dev: $(VENV)/.base $(PROJECTS)
	@echo "Installing edgeai with every plugin and the test tools into $(VENV) (a few minutes, once)"
	@$(PIP) install $(PINS) --no-build-isolation -e ".[dev]" $(BUILD_PLUGINS)
	@$(COMPILE)
	@touch $@ $(VENV)/.demo $(VENV)/.demo-fleet

$(VENV)/.cart-tests: $(VENV)/.demo
	@$(PIP) install $(PINS) cryptography hypothesis jsonschema pytest pytest-timeout pytest-xdist pyyaml
	@touch $@

# tflite-runtime ends at Python 3.11 and needs numpy 1: it is tested in an environment of its own.
$(RUNTIME_VENV)/.ready: .ci/constraints-tflite-runtime.txt
	@python="$$(command -v python3.11 || command -v $(PYTHON))"; \
	if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] > (3, 11))'; then \
		"$$python" -m venv $(RUNTIME_VENV) && \
		$(RUNTIME_VENV)/bin/python -m pip --disable-pip-version-check -q install -r .ci/constraints-tflite-runtime.txt; \
	else echo "No Python 3.11 here: tests of tflite-runtime will be skipped"; mkdir -p $(RUNTIME_VENV); fi
	@touch $@
