"""Daemons for the tests of this room.  One that many tests share, and one for each that needs its own."""

import contextlib
import itertools

import pytest

from tests.support.daemon import daemon
from tests.support.postgres import server

# Quick about everything that tests would have to wait for.
HASTY = """
[limits]
grace_seconds = 3.0
heartbeat_seconds = 0.3
heartbeat_misses = 4
login_seconds = 2.0
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/wire/" in item.path.as_posix() and item.get_closest_marker("wire") is None:
            item.add_marker(pytest.mark.wire)
            item.add_marker(pytest.mark.timeout(100))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Two workers, everything as it comes, shared by the tests of a module."""
    with daemon(tmp_path_factory.mktemp("shared") / "state", "--workers", "2") as d:
        yield d
    log = d.log_text()
    assert "Traceback" not in log, log


@pytest.fixture
def serve(tmp_path):
    """``with serve(settings) as d:`` a daemon of one's own; its log must show no traceback."""

    @contextlib.contextmanager
    def begin(settings=HASTY, *args, **how):
        file = tmp_path / "scsipub.toml"
        file.write_text(settings)
        with daemon(tmp_path / "state", "--config", str(file), "--workers", "2", *args, **how) as d:
            yield d
        log = d.log_text()
        assert "Traceback" not in log, log

    return begin


@pytest.fixture(scope="module")
def postgres():
    """A real PostgreSQL."""
    with server() as running:
        yield running


_databases = itertools.count()


@pytest.fixture
def on_postgres(postgres):
    """A new database, as options of the daemon."""
    name = f"wire{next(_databases)}"
    postgres.execute(f"CREATE DATABASE {name}")
    return ["--database", postgres.url(name)]


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request):
    """What the daemon is told of its database."""
    return [] if request.param == "sqlite" else request.getfixturevalue("on_postgres")
