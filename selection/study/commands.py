"""Commands as messages and pages show them: what is printed can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def command_text(
    name: str, *options: str, operands: Sequence[str] = (), program: Sequence[str] = ("selection",)
) -> str:
    """Return a command with its operands, such as the name of a study, and its options.

    An operand that begins with a dash would be read as an option: such operands come last,
    behind "--".
    """
    if any(operand.startswith("-") for operand in operands):
        return shlex.join([*program, name, *options, "--", *operands])
    return shlex.join([*program, name, *operands, *options])
