"""The command line: parses the options and calls the command. Only `tyro` is imported to print help."""

import errno
import itertools
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from eosmodel import _specs
from eosmodel.commands import compiled, config_file, module_of, words
from eosmodel.commands.options import COMMANDS, name_of
from eosmodel.commands.parsing import completion, parse

# A full disk, a limit on the size of files, a quota.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `eosmodel`. Exit codes: 0 done, 1 workers lost, 2 bad input (both one line on
    standard error), 130 interrupted."""
    args = sys.argv[1:] if args is None else list(args)
    if args == ["--version"]:
        return print(f"eosmodel {version('eosmodel')}")
    if len(args) == 2 and args[0] == "--completion":
        return print(completion(args[1]))
    try:
        args = config_file.expand(args)
        _check_words(args)
    except ValueError as error:
        _end(error)
    options = parse(args)
    try:
        if not getattr(options, "no_cache", True):
            compiled.keep()
        words.check(options)
        module_of(name_of(options)).run(options)
    except (ValueError, OSError) as error:
        _end(error, "; what is done is kept" if getattr(error, "errno", None) in _FULL else "")
    except KeyboardInterrupt:
        print("eosmodel: interrupted; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


def _end(error: Exception, more: str = "") -> NoReturn:
    """One line on standard error, and exit code 2."""
    line = str(error).partition("\n")[0]
    print(f"eosmodel: {line.removeprefix('eosmodel: ')}{more}", file=sys.stderr)
    raise SystemExit(2) from None


def _check_words(args: Sequence[str]) -> None:
    """Mistakes that are known by their words, with the words that were meant."""
    if args and not args[0].startswith("-"):
        _specs.look_up(args[0], COMMANDS, "command")
    for option, value in itertools.pairwise(args):
        if option == "--seeds" and "," in value:
            raise ValueError(
                f"--seeds {value}: values are separated by spaces, as in --seeds {value.replace(',', ' ')}"
            )
