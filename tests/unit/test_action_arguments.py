"""Arguments and output of an action, in every layout that agents have been seen to get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import arglist, vcs

NAME = ("GuestName", "1", "web")
POSITIONAL = ("web", "5", "30", "/sync", "", "0", "0", "0", "0")


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (NAME, ()),
        ((*NAME, "ACTION_ARGS", "2", "redefine", "now"), ("redefine", "now")),
        (("ACTION_ARGS", "1", "redefine", *NAME), ("redefine",)),
        ((*NAME, "ACTION_ARGS", "1", "redefine,now"), ("redefine", "now")),
        ((*NAME, "ACTION_ARGS", "1", ""), ()),
        ((*NAME, "ACTION_ARGS", "0", "AEPTimeout", "1", "30"), ()),
        ((*NAME, "AEPTimeout", "1", "30", "0"), ()),
        ((*NAME, "AEPTimeout", "1", "30", "1", "redefine"), ("redefine",)),
        ((*NAME, "1", "GuestName"), ("GuestName",)),
        ((*NAME, "3", "2", "1", "0"), ("2", "1", "0")),
        ((*POSITIONAL, "1", "redefine"), ("redefine",)),
        ((*POSITIONAL, "0"), ()),
        (POSITIONAL, ()),
    ],
)
def test_layouts(words: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    config = arglist.parse("res", words, is_action=True)
    assert config.complaints == ()
    assert config.guest == "web"
    assert vcs.action_arguments(config.others) == arguments


@pytest.mark.parametrize("tail", [("2", "redefine"), ("1",), ("one", "redefine"), ("1", "a", "b")])
def test_a_tail_that_does_not_add_up_is_a_complaint(tail: tuple[str, ...]) -> None:
    config = arglist.parse("res", [*NAME, *tail], is_action=True)
    assert config.complaints


def test_only_an_action_may_have_a_tail() -> None:
    assert arglist.parse("res", [*NAME, "1", "redefine"]).complaints


@given(st.lists(st.text(), max_size=6))
def test_any_arguments_come_through(arguments: list[str]) -> None:
    words = [*NAME, "AEPTimeout", "1", "30"]
    tail = arglist.parse("r", [*words, str(len(arguments)), *arguments], is_action=True)
    assert tail.others["ACTION_ARGS"] == tuple(arguments)
    pair = arglist.parse(
        "r", [*words, "ACTION_ARGS", str(len(arguments)), *arguments], is_action=True
    )
    assert pair.others["ACTION_ARGS"] == tuple(arguments)


@given(st.text(max_size=5000))
def test_output_is_one_short_line(text: str) -> None:
    output = vcs.action_output(text)
    assert len(output) <= 2048
    assert output.count(b"\n") == 1
    assert output.endswith(b"\n")
    assert output.decode().rstrip("\n").isprintable()


def test_output_is_cut_between_letters() -> None:
    assert vcs.action_output("ü" * 2000) == b"\xc3\xbc" * 1023 + b"\n"


def test_the_token_is_the_first_argument() -> None:
    split = vcs.split_arguments("action", ["DevScan", "res", *NAME])
    assert split == ("res", "DevScan", list(NAME))
    assert vcs.split_arguments("action", []) == ("", "", [])
