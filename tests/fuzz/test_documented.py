"""The example of docs/fuzzing.md runs as it stands there."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "fuzzing.md"


def test_the_example_of_the_strategies_runs():
    source = DOCUMENT.read_text().partition("```python\n")[2].partition("```")[0]
    names = {}

    exec(compile(source, str(DOCUMENT), "exec"), names)

    tests = [deed for name, deed in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()
