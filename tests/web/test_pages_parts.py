"""What a stranger has written is seen as it is, and does nothing."""

import pytest
from markupsafe import Markup

from scsipub.web import pages_parts as parts


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("iqn.2025-01.pub:a", "iqn.2025-01.pub:a"),
        ("Köln 東京", "Köln 東京"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x00b\x7f\t", "a\\x00b\\x7f\\x09"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\u2028c", "a\\u200bb\\u2028c"),
        ("\ud800", "\\ud800"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_what_has_no_glyph_is_written_as_an_escape(said, seen):
    assert parts.visible(said) == seen


def test_what_is_no_text_stays_what_it_is():
    markup = Markup("<b>")

    assert parts.visible(3) == 3
    assert parts.visible(None) is None
    assert parts.visible(markup) is markup


def test_every_expression_of_a_template_is_made_visible_and_escaped():
    made = parts.ENVIRONMENT.from_string('<p title="{{ said }}">{{ said }}</p>')

    assert made.render(said='"<script>\x1b[2J') == (
        '<p title="&#34;&lt;script&gt;\\x1b[2J">&#34;&lt;script&gt;\\x1b[2J</p>'
    )


@pytest.mark.parametrize(
    ("count", "words"),
    [(512, "512 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (5000 << 40, "5000 TiB")],
)
def test_sizes_are_for_people(count, words):
    assert parts.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "1 day"),
        (90000, "1 day 1 h"),
        (30 * 86400 + 7200, "30 days"),
        (11 * 60 + 5, "11 min"),
    ],
)
def test_spans_are_for_people(seconds, words):
    assert parts.span(seconds) == words


def test_a_time_that_is_none_is_shown_as_it_came():
    assert parts.since("yesterday") == "yesterday"
    assert parts.since(None) == "never"
