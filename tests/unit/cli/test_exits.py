"""The tables of exit codes name errors that there are."""

import pytest

from agentd import errors
from agentd_cli import exits

CODES = {getattr(errors, name).code for name in errors.__all__ if name[0].isupper()}


@pytest.mark.parametrize("table", [exits.CTL, exits.SERVE])
def test_every_error_in_a_table_exists(table):
    assert {code for row in table for code in row.errors} <= CODES


@pytest.mark.parametrize("table", [exits.CTL, exits.SERVE])
def test_every_code_stands_once_and_in_order(table):
    codes = [row.code for row in table]
    assert codes == sorted(set(codes))


def test_a_subclass_exits_as_its_base():
    class Revoked(errors.ConnectionLost):
        code = "Revoked"

    assert exits.code_of(Revoked(), exits.CTL) == 6


def test_a_remote_exception_with_an_attribute_called_code():
    raised = exits.RemoteRaised()
    raised.__cause__ = SystemExit(3)
    assert exits.sentence_of(raised) == "SystemExit: 3"


def test_an_exception_without_a_text():
    assert exits.sentence_of(KeyError()) == "KeyError"
