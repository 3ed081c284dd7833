"""A worker for every test that wants a whole one."""

import pytest

from tests.support.worker_parts import set_up


@pytest.fixture
async def bench(nursery, tmp_path):
    return await set_up(nursery, tmp_path)
