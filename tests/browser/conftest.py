"""One daemon and one browser for all tests of this room; each test is somebody else in it."""

import contextlib

import pytest

from tests.support.browser import CHROMIUM, chromium, sign_in, watched
from tests.support.daemon import daemon


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.wire)
            item.add_marker(pytest.mark.timeout(200))


@pytest.fixture(scope="package")
def running(tmp_path_factory):
    with daemon(tmp_path_factory.mktemp("browser") / "state", "--workers", "2") as d:
        yield d
    log = d.log_text()
    assert "Traceback" not in log, log


@pytest.fixture(scope="package")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with chromium() as running:
        yield running


@pytest.fixture
def admin_token(running):
    return (running.state_dir / "admin.token").read_text().strip()


@pytest.fixture
def somebody(running, browser):
    """``with somebody() as page``: who was never here.  With a token: who has signed in with it."""

    @contextlib.contextmanager
    def comes(token=None, **how):
        with watched(browser, running.endpoints["web"], **how) as page:
            if token is not None:
                sign_in(page, token)
            yield page

    return comes


@pytest.fixture(scope="package")
def alice(running):
    """A tenant, and its token."""
    running.ask("tier.put", name="gold", allocation_budget=64 << 20, persistent=True)
    running.ask("tenant.create", name="alice", tier="gold")
    return running.ask("token.create", tenant="alice", name="browser")["token"]
