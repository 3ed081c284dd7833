"""The names of a unit."""

from hypothesis import given
from hypothesis import strategies as st

from scsipub.scsi.identity import UnitConfig

uuids = st.binary(min_size=16, max_size=16)


@given(uuids)
def test_names_have_the_shape_that_the_standard_gives_them(uuid):
    """SPC-4 §7.8.6: NAA 6 has 16 bytes and type 6, EUI-64 eight, T10 begins with the padded vendor."""
    config = UnitConfig(uuid=uuid, vendor="ME")
    assert len(config.naa6) == 16
    assert config.naa6[0] >> 4 == 6
    assert len(config.eui64) == 8
    assert config.t10[:8] == b"ME      "
    assert config.scsi_name == "naa." + config.naa6.hex().upper()
    assert config.serial == uuid.hex()


@given(uuids, uuids)
def test_two_units_share_no_name(one, other):
    if one != other:
        first, second = UnitConfig(uuid=one), UnitConfig(uuid=other)
        assert first.naa6 != second.naa6
        assert first.eui64 != second.eui64
        assert first.serial != second.serial
        assert first.t10 != second.t10


@given(uuids)
def test_names_depend_on_the_uuid_alone(uuid):
    one = UnitConfig(uuid=uuid)
    other = UnitConfig(
        uuid=uuid, block_size=4096, target_ports=2, target_name="iqn.2025-01.x:y", read_only=True
    )
    assert (one.naa6, one.eui64, one.t10, one.scsi_name) == (
        other.naa6,
        other.eui64,
        other.t10,
        other.scsi_name,
    )
