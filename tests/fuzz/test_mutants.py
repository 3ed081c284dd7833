"""Seeded bugs stay bugs: each patch still fits the tree, so that it can be hunted.

``python -m fuzz mutants`` hunts them all; that takes a minute or two and is not done here."""

import pytest

from fuzz.mutants import PATCHES, applies

FILES = sorted(PATCHES.glob("*.patch"))


@pytest.mark.parametrize("patch", FILES, ids=lambda patch: patch.stem)
def test_a_mutant_still_applies(patch):
    assert applies(patch) == ""


def test_there_are_ten_or_more():
    assert len(FILES) >= 10
