import json

import click
import pytest
from rich.table import Table
from rich.text import Text

from proxy.cli.output import draw, reporting
from proxy.errors import ConfigurationError, NotFound


def test_lines_end_where_their_words_do(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=20)
    table.add_row(Text("a  ", style="red"))
    table.add_row("")
    draw(table, "", "  two words ")

    assert capsys.readouterr().out == "a\n\n\n  two words\n"


def test_an_error_is_words_or_json_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as ended, reporting():
        raise NotFound("nothing here")
    assert (ended.value.exit_code, capsys.readouterr().err) == (1, "nothing here\n")

    with pytest.raises(click.exceptions.Exit) as ended, reporting(as_json=True):
        raise ConfigurationError("a bad setting")
    assert ended.value.exit_code == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "a bad setting"
