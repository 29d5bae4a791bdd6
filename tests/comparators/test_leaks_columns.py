"""Secrets in tables: to which the name of their column says so."""

import time

import pytest

from comparators.redaction import Redactor
from comparators.secrets import MARK

REDACTOR = Redactor(b"k" * 32)

# "hunter2" must not be seen, "kept" must be.
TABLES = (
    "| user | password |\n|------|----------|\n| kept | hunter2  |",
    "| **PIN** | `user` |\n|:-:|---|\n| hunter2 | kept |\n| | |\n",
    "+------+-------+\n| user | token |\n+------+-------+\n| kept | hunter2 |\n+------+-------+",
    "kept:\n id | password \n----+----------\n  1 | hunter2\n(1 row)\n",
    "user|password\r\nkept|hunter2\r\n",
    "a | b\n\nid | pin\n1 | x\nkept\n\nid | pin\n1 | hunter2",
    "NAME   API KEY    AGE\nkept   hunter2    3d\n",
    "User        Session    Since\n----        -------    -----\nkept           hunter2   now",
    "\n\nuser,password\nkept,hunter2\n",
    "INSERT INTO users (id, password) VALUES (1, 'hunter2'), (2, 'kept''s hunter2'); -- kept",
    "insert into `u` (`pin`, `id`)\n  values ('hunter2', 'kept')",
    "INSERT INTO u (a, token, b) VALUES (f('x, y', (1)), hunter2, 'kept')",
    "INSERT INTO u (password) VALUES ('hunter2",
    'INSERT INTO u ("id", "password") VALUES (1, E\'it\\\'s, hunter2\'), (2, NULL) -- kept',
)


@pytest.mark.parametrize("text", TABLES)
def test_what_stands_in_a_column_of_secrets_is_hidden(text: str) -> None:
    shown = REDACTOR.text(text)
    assert "hunter2" not in shown
    assert ("kept" in text.replace("kept''", "")) == ("kept" in shown)
    assert MARK in shown
    assert REDACTOR.text(shown) == shown
    assert shown.count("\n") == text.count("\n")


PLAIN = (
    "| user | author |\n|------|--------|\n| x | y |",
    "a | token | 12:00 | b\nx | y | z | w",
    "the password  or so: he said\nand another  line",
    "INSERT INTO u (id, name) VALUES (1, 'x')",
    "NAME   AGE\nx      3d\n",
    "password\nx\n",
)


@pytest.mark.parametrize("text", PLAIN)
def test_a_table_without_any_stays_as_it_is(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("a|pin\n", "|", "|\n", "| pin |\n|---|\n| x |\n", "pin  a\n1  2\n", "pin  a\n\n"),
        *("(pin) values (1),", "(pin) values (", "(pin) values ('", "(pin", "('", " \n"),
        "(a,pin) values ('x',((((",
    ],
)
def test_many_of_them_cost_no_more_than_their_length(text: str) -> None:
    many = text * (200_000 // len(text))
    begun = time.process_time()
    REDACTOR.text(many)
    assert time.process_time() - begun < 3.0
