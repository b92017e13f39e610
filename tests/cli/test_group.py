import subprocess
import sys

import click
import pytest

import proxy
from proxy.cli import COMMANDS, main
from tests.cli.conftest import Attune


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listing_says_what_the_command_itself_says(name: str) -> None:
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name].help.rstrip(".")


def test_help_lists_every_command_in_order(attune: Attune) -> None:
    shown = attune("--help").stdout.partition("Commands:")[2]

    assert [line.split()[0] for line in shown.splitlines() if line.strip()] == list(COMMANDS)


def test_an_unknown_command_is_a_usage_error(attune: Attune) -> None:
    result = attune("serv")

    assert result.exit_code == 2
    assert "serv" in result.stderr


def test_the_version(attune: Attune) -> None:
    assert attune("--version").stdout == f"attune, version {proxy.__version__}\n"


def test_help_imports_no_server() -> None:
    heavy = "{'uvicorn', 'starlette', 'httpx', 'pydantic', 'proxy.decider'}"
    code = (
        "import sys\n"
        "from proxy.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print({heavy} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.splitlines()[-1] == "set()"


def test_python_m_proxy_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == f"attune, version {proxy.__version__}\n"
