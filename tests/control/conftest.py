"""A house for every test of the control process."""

import pytest

from tests.support.control_parts import keep


@pytest.fixture
async def house(nursery, tmp_path):
    return await keep(nursery, tmp_path / "state")
