"""What the CLI and the settings really have, for tests of files that name commands and settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import click
from pydantic import BaseModel

from streamlake.entrypoints.cli import cli
from streamlake.entrypoints.settings import PREFIX, Settings

ANY_PROPERTY = f"{PREFIX}KAFKA__"
"""Followed by any property of librdkafka's."""


def complaint(arguments: Sequence[str], *, whole: bool = True) -> str | None:
    """Why the CLI would not take these arguments; None where it does. Nothing is run.

    Without `whole` a command may be mentioned without what it requires.
    """
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.commands.get(rest[0])
        if found is None:
            return f"there is no command {rest[0]!r} in {command.name or 'streamlake'}"
        command = found
        del rest[0]
    if isinstance(command, click.Group) and not rest:
        return None
    try:
        command.make_context(command.name or "streamlake", rest)
    except click.MissingParameter as missing:
        return missing.format_message() if whole else None
    except click.exceptions.Exit:
        return None  # --help and --version
    except click.UsageError as wrong:
        return None if "does not exist" in wrong.message else wrong.message  # a file of the reader's own
    return None


def streamlake_commands(script: str) -> Iterator[list[str]]:
    """The arguments of every call of `streamlake` in some lines of shell."""
    for line in script.replace("\\\n", " ").splitlines():
        for words in _simple_commands(line.strip().removeprefix("$ ")):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words[:3] == ["docker", "compose", "exec"] and "streamlake" in words:
                yield words[words.index("streamlake") + 1 :]
            elif words[1:3] == ["-m", "streamlake"]:
                yield words[3:]
            elif words and words[0].rpartition("/")[2] == "streamlake":
                yield words[1:]


def _simple_commands(line: str) -> Iterator[list[str]]:
    """A line cut at pipes, redirections and the like; comments are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if set(word) <= set("();<>|&"):
            redirected = set(word) <= set("<>")
            if not redirected:
                yield words
                words = []
        elif redirected:
            redirected = False
        else:
            words.append(word)
    yield words


def settings(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every setting: its variable, and the model and field behind it. Of `kafka`, which takes any name, the prefix."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{prefix}{name.upper()}__")
        elif name == "kafka":
            yield ANY_PROPERTY, model, name
        else:
            yield f"{prefix}{name.upper()}", model, name


def is_setting(variable: str) -> bool:
    """Is there a setting of this name?"""
    known = {name for name, _, _ in settings()}
    return variable in known - {ANY_PROPERTY} or (variable.startswith(ANY_PROPERTY) and variable != ANY_PROPERTY)
