"""docs/supervisor.md: the page that says what all the other tests here check."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "supervisor.md").read_text()


def test_the_code_on_the_page_runs():
    namespace = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, "docs/supervisor.md", "exec"), namespace)


def test_every_module_is_on_the_page():
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("## A tree")[0]))
    assert {file.stem for file in (ROOT / "supervisor").glob("*.py")} - {"__init__"} <= listed


def test_the_package_could_be_published_alone():
    """It knows no other package of this repository, by import or by word."""
    others = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()} - {"supervisor"}
    for file in [*(ROOT / "supervisor").glob("*.py"), ROOT / "docs" / "supervisor.md"]:
        words = set(re.findall(r"\w+", file.read_text().lower()))
        assert not words & (others | {"iscsi", "scsi"}), file
