"""The command `minimask`: one module per command, errors in a sentence.

This module and those of the commands import nothing heavy, so that `--help` answers at once and
settings that NumPy reads when it loads can still be made: each command imports what it needs when
it runs.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from minimask.system import runtime

# command -> (module, function); in the order of `--help`
COMMANDS = {
    "train": ("minimask.tools.cli.train", "train"),
    "evaluate": ("minimask.tools.cli.evaluate", "evaluate"),
    "predict": ("minimask.tools.cli.predict", "predict"),
    "segment": ("minimask.tools.cli.segment", "segment"),
    "info": ("minimask.tools.cli.info", "info"),
    "profile": ("minimask.tools.cli.profile", "profile"),
    "trace": ("minimask.tools.cli.trace", "trace"),
    "claims": ("minimask.tools.cli.claims", "claims"),
    "explore": ("minimask.tools.cli.explore", "explore"),
    "ablate": ("minimask.tools.cli.ablate", "ablate"),
    "doctor": ("minimask.tools.cli.doctor", "doctor"),
}
GROUPS = {
    "data": ("minimask.tools.cli.data", "app"),
    "weights": ("minimask.tools.cli.weights", "app"),
    "kernels": ("minimask.tools.cli.kernels", "app"),
}


class WrongUse(ValueError):
    """The command line makes no sense: exit code 2."""


# Problems of input, disk or numbers, whose message is written for people; all others are bugs.
EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, MemoryError, ImportError)
TYPER = (typer.Exit, typer.Abort, typer.BadParameter)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with 0, 1 (failed), 2 (wrong use) or 130 (Ctrl-C)."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words  # wherever it stands: `minimask train --debug` is natural too
    runtime.prepare()
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files; no window system needed
    make_app(debug)(args=[w for w in words if w != "--debug"], prog_name="minimask")


def make_app(debug: bool = False) -> typer.Typer:
    """The application with all commands.

    Args:
        debug: let errors through, with their traceback, instead of printing a sentence.
    """
    app = typer.Typer(
        help="Mask R-CNN from scratch: train it, measure it, use it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, (module, function) in COMMANDS.items():
        home = importlib.import_module(module)
        app.command(name, epilog=_paragraphs(getattr(home, "EPILOG", "")))(
            for_people(getattr(home, function), debug)
        )
    for name, (module, attribute) in GROUPS.items():
        group: typer.Typer = getattr(importlib.import_module(module), attribute)
        for command in group.registered_commands:
            if command.callback is not None:  # unwrapped: the group outlives this application
                command.callback = for_people(inspect.unwrap(command.callback), debug)
        first = group.registered_callback
        if first is not None and first.callback is not None:
            first.callback = for_people(inspect.unwrap(first.callback), debug)
        app.add_typer(group, name=name)
    return app


def _paragraphs(text: str) -> str:
    """The text with one line per paragraph: the terminal's width decides where lines break."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _version(asked: bool) -> None:
    if asked:
        from minimask._version import __version__

        typer.echo(f"minimask {__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print it and stop."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, show where in the program it arose.")
    ] = False,
) -> None:
    """Mask R-CNN from scratch: train it, measure it, use it."""


def for_people(command: Callable[..., Any], debug: bool) -> Callable[..., Any]:
    """The command with its errors turned into a sentence on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except TYPER:
            raise
        except BrokenPipeError:  # `minimask ... | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stopped:
            typer.echo(f"minimask: {stopped or 'stopped'}", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if debug:
                raise
            typer.echo(f"minimask: {sentence(error)}", err=True)
            raise typer.Exit(2 if isinstance(error, WrongUse) else 1) from None

    return run


def sentence(error: Exception) -> str:
    """What to tell a person about an error."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
    if type(error).__module__.startswith(("cupy", "cupy_backends")):
        from minimask.system.device import explain_cuda_error

        return explain_cuda_error(error)
    if isinstance(error, MemoryError):
        return (
            f"not enough memory ({text or 'no details'}); try a smaller --batch or smaller images"
        )
    if isinstance(error, EXPECTED) and text:
        return text
    return (
        f"unexpected {type(error).__name__}: {text}; this is a bug in minimask. "
        "Run again with --debug to see where it arose."
    )
