"""``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}`` inside values, put in after the YAML was read.

A variable set to the empty string counts as unset. ``$${`` stands for ``${`` itself. What a variable holds is only
text: it cannot become a list or a key. Inside a secret (``channels.*.api_key``) an unset variable is no mistake but a
reason (``OPENAI_API_KEY is not set``), and ``NAME_FILE`` is read when ``NAME`` is unset. No message ever repeats what
a variable or a secret file holds.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.config.mistake import KeyPath, Mistake, mistake, quoted
from gateway.config.nodes import Block, Entry, Items, Node, Scalar, block, items

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)
_FORMS = "use ${NAME}, ${NAME:-default} or ${NAME:?message}"
_MAX_SECRET_BYTES = 64_000


class Variables(Struct, frozen=True, kw_only=True):
    """The environment, as far as a file may look into it."""

    env: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """Give a variable's text; ``None`` when it is unset or empty."""
        return self.env.get(name) or None

    def secret(self, name: str) -> str | None:
        """Give a secret: the variable, else the content of the file that ``NAME_FILE`` names.

        White space at the ends is dropped. Raises ``ValueError`` with one sentence when the file cannot be read.
        """
        given = (self.get(name) or "").strip()
        if given:
            return given
        file = self.get(f"{name}_FILE")
        return None if file is None else read_secret(f"{name}_FILE", Path(file))


def read_secret(variable: str, path: Path) -> str | None:
    """Read a secret from a file; ``None`` when it is empty. Raises ``ValueError`` with one sentence."""
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_SECRET_BYTES + 1)
        content = data.decode("utf-8").strip()
    except (OSError, ValueError):
        raise ValueError(f"the file that {variable} names cannot be read") from None
    if len(data) > _MAX_SECRET_BYTES:
        raise ValueError(f"the file that {variable} names is too large for a secret")
    return content or None


class Filled(Struct, frozen=True, kw_only=True):
    """The tree with its variables put in."""

    root: Block
    mistakes: tuple[Mistake, ...]


class _Unset(Exception):
    """A plain ``${NAME}`` found nothing. Never leaves this file."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reason = f"{name} is not set"


class _Filler(Struct, kw_only=True):
    variables: Variables
    mistakes: list[Mistake] = field(default_factory=list)

    def block(self, node: Block, path: KeyPath) -> Block:
        entries: dict[str, Entry] = {}
        for key, entry in node.entries.items():
            if "${" in key:
                self.mistakes.append(mistake(entry.mark, (*path, key), "a variable cannot stand in a key"))
                continue
            entries[key] = replace(entry, node=self.node(entry.node, (*path, key)))
        return block(entries, node.mark)

    def node(self, node: Node, path: KeyPath) -> Node:
        if isinstance(node, Block):
            return self.block(node, path)
        if isinstance(node, Items):
            return items(tuple(self.node(item, (*path, at)) for at, item in enumerate(node.items)), node.mark)
        return self._scalar(node, path) if "${" in node.text else node

    def _scalar(self, node: Scalar, path: KeyPath) -> Scalar:
        is_secret = _is_secret(path)
        try:
            text = _fill(node.text, self.variables, is_secret=is_secret)
            text.encode("utf-8")
        except _Unset as unset:
            if is_secret:
                return replace(node, text="", absent=unset.reason, from_variable=True)
            said = f"{unset.reason}; ${{NAME:-default}} gives a value for that case"
        except UnicodeEncodeError:
            said = "a variable in it is not UTF-8"
        except ValueError as error:
            said = str(error)
        else:
            absent = "api_key is empty" if is_secret and not text.strip() else None
            return replace(node, text=text, from_variable=True, absent=absent)
        self.mistakes.append(mistake(node.mark, path, said))
        return replace(node, text="", broken=True)


def fill(root: Block, env: Mapping[str, str]) -> Filled:
    """Put the variables into every value of a tree."""
    filler = _Filler(variables=Variables(env=env))
    return Filled(root=filler.block(root, ()), mistakes=tuple(filler.mistakes))


def _is_secret(path: KeyPath) -> bool:
    return len(path) == 3 and path[0] == "channels" and path[2] == "api_key"


def _fill(text: str, variables: Variables, *, is_secret: bool) -> str:
    parts: list[str] = []
    rest = text
    while "${" in rest:
        before, _, after = rest.partition("${")
        if before.endswith("$"):
            parts.append(before[:-1] + "${")
            rest = after
            continue
        inner, closed, rest = after.partition("}")
        match = _REFERENCE.fullmatch(inner)
        if not closed or match is None or "${" in inner:
            raise ValueError(f"{quoted('${' + inner + closed)} is not a variable: {_FORMS}")
        parts += (before, _value(match, variables, is_secret=is_secret))
    return "".join((*parts, rest))


def _value(match: re.Match[str], variables: Variables, *, is_secret: bool) -> str:
    name, sign, argument = match.groups()
    value = variables.secret(name) if is_secret else variables.get(name)
    if value is not None:
        return value
    if sign == "-":
        return str(argument)
    if sign == "?":
        raise ValueError(f"{name} is not set: {quoted(argument)[1:-1] or 'it is required'}")
    raise _Unset(name)
