# make serve   a running daemon, nothing to install by hand.  ARGS="--port 0 --state-dir /tmp/x" are handed on.
# make test    linter, formatter, type checker, all tests
# The rest measure or torture: bench load soak conformance model fencing guest fuzz crash.  docs/contributing.md says what each shows.

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
# The system's pip installs into the venv: a bare Debian has pip but not python3-venv, which brings pip along.
PIP    := $(PYTHON) -m pip --python $(PY) install --quiet --disable-pip-version-check

TEST_PACKAGES  := libiscsi-bin qemu-utils qemu-block-extra qemu-system-x86 ipxe-qemu tgt dosfstools mtools strace procps iproute2 postgresql stunnel4 systemd caddy tcpdump chromium

.PHONY: serve test check packages bench load soak conformance model fencing guest fuzz crash docs clean

serve: $(VENV)/serve.stamp
	@exec $(PY) -m scsipub serve $(ARGS)

test: packages check
	SCSIPUB_STRICT_SKIPS=1 $(PY) -m pytest $(ARGS)

check: $(VENV)/test.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

packages:
	.ci/packages $(TEST_PACKAGES)

# Daemon and tgt side by side; writes docs/speed.md.
bench: packages $(VENV)/test.stamp
	$(PY) -m tests.bench $(ARGS)

# Thirty thousand sessions, bad neighbours, dying processes: what bends first.  ARGS="shape --write" writes docs/.
load: $(VENV)/test.stamp
	$(PY) -m tests.load $(ARGS)

# An hour of everything at once, with random deaths; ARGS="--minutes 2" is the short form.
soak: $(VENV)/test.stamp
	$(PY) -m tests.soak $(ARGS)

# The field's acceptance suite, test by test.
conformance: packages $(VENV)/test.stamp
	$(PY) -m tests.conformance $(ARGS)

# Persistent reservations against a model of the standard: ten thousand random sequences.
model: $(VENV)/test.stamp
	$(PY) -m tests.models.sequences $(ARGS)

# What a fenced node still gets onto the disk: nothing, two hundred times.
fencing: packages $(VENV)/test.stamp
	$(PY) -m tests.load.fencing $(ARGS)

# A real Linux with open-iscsi, in QEMU.
guest: packages $(VENV)/test.stamp
	$(PY) -m tests.guest $(ARGS)

# Two minutes, or as ARGS="--pdus 1000000" says; docs/fuzzing.md has the rest.
fuzz: $(VENV)/test.stamp
	$(PY) -m fuzz $(ARGS)

# A disk that lasts, killed, failed and cut off at every call.
crash: packages $(VENV)/test.stamp
	$(PY) -m tests.crash $(ARGS)

# Rewrites the parts of docs/ that come from tables in the code.
docs: $(VENV)/test.stamp
	$(PY) -m tests.support.generated

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(PY):
	@$(PYTHON) -m pip --version >/dev/null || { echo "pip is needed:  apt-get install python3-pip"; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

# Stamps: install again only when pyproject.toml has changed.
$(VENV)/serve.stamp: pyproject.toml | $(PY)
	@echo "Installing what scsipub needs into $(VENV) (once)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(PY)
	@echo "Installing what the tests need into $(VENV) (once)"
	@$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/serve.stamp
