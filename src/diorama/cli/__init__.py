"""Command line: `diorama COMMAND`, one file a command, each imported only when it is used.

A command returns its exit status.  What goes wrong is told here, once: the user's mistakes in one line,
our own with a traceback, both with status 125, so that they can be told from the program's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from diorama import __version__
from diorama.errors import UsageError

OWN_FAILURE = 125
INTERRUPTED = 130
# What `--help` and the reference tell of each, in that order.
COMMANDS = {
    "Run programs": {
        "run": "run a program in a view",
        "trace": "the same, and print its system calls",
    },
    "Running views": {
        "ls": "list the running views of this user",
        "exec": "run a program in a running view",
        "debug": "tell how calls are decided, while programs run",
    },
    "From inside a view": {
        "mount": "mount something",
        "umount": "take a mount away",
        "stack": "run a program with another network",
        "su": "be another user",
        "clock": "change the clock, or run a program with one of its own",
        "name": "print or change the name of the view",
    },
    "Private networks": {
        "net": "list, show and change them",
    },
    "Layers (run --cow)": {
        "diff": "what views on a layer have changed",
        "commit": "make these changes on the host",
        "discard": "remove a layer and its changes",
    },
    "Information": {
        "explain": "what a system call is to diorama",
        "doctor": "what this kernel offers, and what is used of it",
    },
}
_NAMES = [name for commands in COMMANDS.values() for name in commands]


class Commands(click.Group):
    """The commands by name, from the modules of the same names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(_NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from the module `diorama.cli.NAME`."""
        if cmd_name not in _NAMES:
            return None
        command: click.Command = import_module(f"diorama.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them by subject."""
        for subject, commands in COMMANDS.items():
            with formatter.section(subject):
                formatter.write_dl(list(commands.items()), col_max=max(map(len, _NAMES)))


@click.group(
    cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="diorama", message="%(prog)s %(version)s")
@click.pass_context
def diorama(context: click.Context) -> int:
    """Give an unmodified program its own view of the system.

    \b
    diorama run --mount zip:data.zip=/mnt -- ls -lR /mnt
    diorama run --user root --clock at=2030-01-01 --hostname blue -- bash
    diorama trace -e %file -- date
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


def _tell(message: str) -> int:
    click.echo(f"diorama: {' '.join(message.split())}", err=True)
    return OWN_FAILURE


def status_of(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of this process by default) and return its exit status."""
    try:
        status = diorama.main(arguments, prog_name="diorama", standalone_mode=False)
    except UsageError as error:
        return _tell(str(error))
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _tell(error.format_message())
    except Exception:
        import traceback

        traceback.print_exc()
        return OWN_FAILURE
    return int(status or 0)


def main() -> NoReturn:
    """Entry point of the command `diorama`."""
    status = status_of()
    # All that lives ends with us: not looking for cycles in it saves 6 of 60 ms.
    gc.freeze()
    sys.exit(status)
