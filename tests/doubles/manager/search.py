"""The engine's search language, as far as VMs, hosts and clusters need it.

Equality is a whole-string, case-insensitive ILIKE with `*` as the only wildcard. What the engine
cannot parse is not an error on the wire: it is an empty list, and only the engine's log tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Callable, TypeVar

T = TypeVar("T")
Fields = dict[str, Callable[[T], str]]

_TOKEN = re.compile(r'\s*(?:"([^"]*)"|(!=|<=|>=|=|<|>)|([^\s"=<>!]+))')
_CROSS_REFERENCES = frozenset(
    (
        *("vm", "vms", "host", "hosts", "cluster", "clusters", "template", "templates"),
        *("user", "users", "event", "events", "storage", "pool", "pools", "datacenter"),
        *("quota", "disk", "disks", "network", "networks"),
    )
)
_FREE_TEXT = ("name", "comment", "description")
_VALUE, _OPERATOR, _WORD = 1, 2, 3


class SearchSyntaxError(Exception):
    """The engine logs it and answers with an empty list."""


class _Tokens:
    """A line of search text in pieces; `;` and `'` count as an attempt of SQL injection."""

    def __init__(self, text: str) -> None:
        if "'" in text or ";" in text or text.endswith("\\"):
            raise SearchSyntaxError(text)
        self.kinds: list[int] = []
        self.texts: list[str] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise SearchSyntaxError(text)
            self.kinds.append(match.lastindex or 0)
            self.texts.append(match.group(match.lastindex or 0))
            position = match.end()
        self.at = 0

    def peek(self) -> str | None:
        return self.texts[self.at] if self.at < len(self.texts) else None

    def peek_word(self) -> str:
        """The next bare word in lower case, or nothing."""
        if self.at < len(self.texts) and self.kinds[self.at] == _WORD:
            return self.texts[self.at].lower()
        return ""

    def next_is(self, kind: int) -> bool:
        return self.at < len(self.kinds) and self.kinds[self.at] == kind

    def take(self) -> str:
        if self.at >= len(self.texts):
            raise SearchSyntaxError("it ends too early")
        self.at += 1
        return self.texts[self.at - 1]


def search(
    text: str, things: Sequence[T], fields: Fields[T], *, case_sensitive: bool = False
) -> list[T]:
    """The things that match, in the order the search asks for.

    Raises:
        SearchSyntaxError: also for an unknown field.
    """
    tokens = _Tokens(text)
    if tokens.peek() is None:
        return list(things)
    found = list(things)
    if tokens.peek_word() != "sortby":
        wanted = _any_of(tokens, fields, case_sensitive)
        found = [thing for thing in things if wanted(thing)]
    return _sort_and_page(tokens, found, fields)


def _any_of(tokens: _Tokens, fields: Fields[T], case_sensitive: bool) -> Callable[[T], bool]:
    choices = [_all_of(tokens, fields, case_sensitive)]
    while tokens.peek_word() == "or":
        tokens.take()
        choices.append(_all_of(tokens, fields, case_sensitive))
    return lambda thing: any(choice(thing) for choice in choices)


def _all_of(tokens: _Tokens, fields: Fields[T], case_sensitive: bool) -> Callable[[T], bool]:
    conditions = [_condition(tokens, fields, case_sensitive)]
    while tokens.peek_word() == "and":
        tokens.take()
        conditions.append(_condition(tokens, fields, case_sensitive))
    return lambda thing: all(condition(thing) for condition in conditions)


def _condition(tokens: _Tokens, fields: Fields[T], case_sensitive: bool) -> Callable[[T], bool]:
    is_value = tokens.next_is(_VALUE)
    word = tokens.take()
    if is_value or not tokens.next_is(_OPERATOR):
        return _free_text(word, fields)
    read = fields.get(word.lower())
    operator = tokens.take()
    if read is None or operator not in {"=", "!="} or tokens.next_is(_OPERATOR):
        raise SearchSyntaxError(word)
    like = _ilike(tokens.take(), case_sensitive)
    _skip_cross_reference(tokens)
    if operator == "=":
        return lambda thing: bool(like.fullmatch(read(thing)))
    return lambda thing: not like.fullmatch(read(thing))


def _skip_cross_reference(tokens: _Tokens) -> None:
    """`name=my vm`: the second word is taken for the keyword vm, and the value is `my`."""
    word = tokens.peek_word()
    if word in _CROSS_REFERENCES:
        tokens.take()
    elif word not in {"", "and", "or", "sortby", "page"} or tokens.next_is(_VALUE):
        raise SearchSyntaxError(word)


def _free_text(word: str, fields: Fields[T]) -> Callable[[T], bool]:
    like = _ilike(f"*{word}*", case_sensitive=False)
    reads = [fields[name] for name in _FREE_TEXT if name in fields]
    return lambda thing: any(like.fullmatch(read(thing)) for read in reads)


def _ilike(value: str, case_sensitive: bool) -> re.Pattern[str]:
    pattern = ".*".join(re.escape(part) for part in value.split("*"))
    return re.compile(pattern, re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE)


def _sort_and_page(tokens: _Tokens, found: list[T], fields: Fields[T]) -> list[T]:
    if tokens.peek_word() == "sortby":
        tokens.take()
        read = fields.get(tokens.take().lower())
        if read is None:
            raise SearchSyntaxError("sortby an unknown field")
        descending = tokens.peek_word() == "desc"
        if tokens.peek_word() in {"asc", "desc"}:
            tokens.take()
        found = sorted(found, key=read, reverse=descending)
    if tokens.peek_word() == "page":
        tokens.take()
        page = tokens.take()
        if not page.isdigit() or page == "0":
            raise SearchSyntaxError(page)
        found = found[(int(page) - 1) * 100 : int(page) * 100]
    if tokens.peek() is not None:
        raise SearchSyntaxError(str(tokens.peek()))
    return found
