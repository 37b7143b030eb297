# `make` lists the targets. Each of them installs what it needs into .venv and leaves the system's Python alone.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip -qq --disable-pip-version-check install --constraint constraints.txt
PINS   := pyproject.toml constraints.txt
# An install has happened if its stamp is newer than the pins; a start then skips pip.
SERVER := $(VENV)/.installed-server
DEV    := $(VENV)/.installed-dev
LOAD   := $(VENV)/.installed-loadtest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test faults check docs audit sbom lock loadtest redis programs clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

run: $(SERVER)  ## start the service with the demo bundle on 127.0.0.1:8000 (RECBLR_* variables change that)
	@exec $(BIN)/python -m service

# Files in alphabetical order: the last ones are short, so that neither process waits long for the other.
test: $(DEV) programs  ## run the tests, against a real Redis server too
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(BIN)/python -m pytest -m alone $$(grep -rlF mark.alone tests --include='*.py')

faults: $(DEV) redis  ## break everything that can break: the fault tests' long form, a line of JSON for each, and the stores' contract
	@FAULTS=long $(BIN)/python -m pytest -rA --capture=tee-sys tests/faults tests/store

check: $(DEV) docs  ## lint, types, import contracts, style, docs, compose file and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python .ci/check_style.py
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint docker/*.Dockerfile

docs: $(DEV)  ## build the documentation as a site in build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

audit: $(DEV)  ## scan for secrets and vulnerable packages; AUDIT_OFFLINE=1 passes without the database
	@$(BIN)/python .ci/audit.py

# pip resolves what the server's image installs, and names each file's SHA-256.
sbom: | $(BIN)/pip  ## write the server's packages, with licences and hashes, into build/sbom.cyclonedx.json
	@$(BIN)/python .ci/sbom.py build/sbom.cyclonedx.json

lock: $(DEV)  ## write the images' lock files, after a change of constraints.txt
	@$(BIN)/python .ci/lock.py

loadtest: $(LOAD) redis  ## measure for a minute: capacity and latency, on servers of its own (Linux)
	@$(BIN)/python -m loadtests.cli --scenario short

redis:  ## see that a redis-server is there; as root on Debian, install it
	@.ci/install_programs.sh redis-server=redis-server

# As "program=Debian's package".
PROGRAMS := redis-server=redis-server redis-cli=redis-tools curl=curl openssl=openssl nginx=nginx-light \
	haproxy=haproxy caddy=caddy chromium=chromium promtool=prometheus systemd-analyze=systemd \
	node=nodejs javac=openjdk-17-jdk-headless
programs:  ## the same for all programs that the tests start: proxies, a browser and others
	@.ci/install_programs.sh $(PROGRAMS)

clean:  ## remove .venv and everything that tools have built or cached; databases stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SERVER): $(PINS) | $(BIN)/pip
	@echo "Installing the service into $(VENV) ..."
	@$(PIP) --editable .
	@touch $@

$(LOAD): $(PINS) | $(BIN)/pip
	@echo "Installing the service and the load tests into $(VENV) ..."
	@$(PIP) --editable '.[loadtest]'
	@touch $@ $(SERVER)

# The development tools need torch, pinned in constraints.txt. On Linux pip's default build of it is the CUDA one, of
# several GB. Without a GPU, put the CPU build there first, from the package index that PyTorch's install page names:
#     python3 -m venv .venv && .venv/bin/pip install --constraint constraints.txt --index-url ADDRESS torch
$(DEV): $(PINS) | $(BIN)/pip
	@echo "Installing the service and the development tools into $(VENV) (torch is large) ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(SERVER)

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON); name a Python: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed and $(PYTHON) is older; name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
