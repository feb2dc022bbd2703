"""What a route says of its targets, held against its targets: rules, weights, and rules that can never match.

``check`` gives mistakes: a condition that cannot be read, a target that is none, weights that add up to nothing.
``doubts`` gives what is no mistake and cannot have been meant. Works on the tree, so that each is said where it stands.
"""

from collections.abc import Iterator

from gateway.config.mistake import KeyPath, Mistake, mistake, quoted, suggestion
from gateway.config.nodes import Block, Node, Scalar, block_at, find, items_at, plain, shown, word
from gateway.core import when
from gateway.core.prices import ReportedPrice
from gateway.core.table import Policy, Route, RouteTable

_EQUAL = "1"  # what a target has that names no weight: said, it changes nothing under any policy


def check(name: str, route: Block) -> Iterator[Mistake]:
    """Give the mistakes in one route's choice of targets."""
    path: KeyPath = ("routes", name)
    yield from _weights(path, route)
    yield from _steps(path, route)
    targets = [_ends(target, name) for target in items_at(route.get("targets"))]
    for at, rule in enumerate(items_at(route.get("when"))):
        node = block_at(rule)
        if node is None:
            continue
        here: KeyPath = (*path, "when", at)
        yield from _conditions(here, block_at(node.get("if")))
        for place, use in enumerate(items_at(node.get("use"))):
            yield from _use((*here, "use", place), use, targets)


def doubts(root: Block, table: RouteTable) -> list[Mistake]:
    """Give what can never take effect in a file without mistakes."""
    found: list[Mistake] = []
    for name, route in table.routes.items():
        served = {surface for one in route.targets for surface in table.channels[one.channel].rows[one.row].serves}
        for at, why in when.doubts(route.when, served):
            path: KeyPath = ("routes", name, "when", at)
            found.append(mistake(find(root, path).node.mark, path, f"can never match: {why}"))
        found += _unbounded(root, route, table)
    return found


def _unbounded(root: Block, route: Route, table: RouteTable) -> Iterator[Mistake]:
    """Give the targets that no request can go to, because nobody can say what it costs there."""
    ceiling = route.max_cost
    if ceiling is None:
        return
    said = f"can never be asked: the route has a max_cost in {ceiling.currency}, in which its cost is not known"
    for at, target in enumerate(route.targets):
        price = table.channels[target.channel].rows[target.row].price
        if price is None or isinstance(price, ReportedPrice) or price.currency != ceiling.currency:
            path: KeyPath = ("routes", route.name, "targets", at)
            yield mistake(find(root, path).node.mark, path, said)


def _weights(path: KeyPath, route: Block) -> Iterator[Mistake]:
    policy = word(route.get("policy")) or Policy.PRIORITY.value
    targets = items_at(route.get("targets"))
    weights = [block.get("weight") for target in targets if (block := block_at(target)) is not None]
    given = [node for node in weights if node is not None and not _says(node, _EQUAL)]
    if given and policy in set(Policy) - {Policy.WEIGHTED}:
        said = f"counts under the policy weighted only; this route's policy is {policy}"
        yield mistake(given[0].mark, (*path, "targets"), f"'weight' {said}")
    mains = [target for target in targets if not _is_substitute(target)]
    if policy == Policy.WEIGHTED and mains and all(_is_zero(target) for target in mains):
        yield mistake(mains[0].mark, (*path, "targets"), "every weight is zero, so there is nothing to choose by")


def _steps(path: KeyPath, route: Block) -> Iterator[Mistake]:
    """Hold the steps down against ``on_failure``: neither may wait for the other in vain."""
    actions = block_at(route.get("on_failure"))
    said = {} if actions is None else {kind: (entry, _action(entry.node)) for kind, entry in actions.entries.items()}
    steps = [block_at(step) for step in items_at(route.get("downgrade"))]
    named = {word(step.get("on")) for step in steps if step is not None}
    for kind, (entry, action) in said.items():
        if action == "downgrade" and kind not in named:
            yield mistake(entry.mark, (*path, "on_failure", kind), f"needs a step of 'downgrade' on {kind}")
        if action == "stop" and kind in named:
            yield mistake(entry.mark, (*path, "on_failure", kind), f"says stop, and 'downgrade' has a step on {kind}")


def _action(node: Node) -> str | None:
    return word(node.get("action") if isinstance(node, Block) else node)


def _is_substitute(target: Node) -> bool:
    node = target.get("substitute") if isinstance(target, Block) else None
    return isinstance(node, Scalar) and node.text == "true"


def _says(node: Node, text: str) -> bool:
    return isinstance(node, Scalar) and node.text == text


def _is_zero(target: Node) -> bool:
    node = target.get("weight") if isinstance(target, Block) else None
    return isinstance(node, Scalar) and node.text.strip("0") == "" and node.text != ""


def _conditions(path: KeyPath, block: Block | None) -> Iterator[Mistake]:
    for key, entry in {} if block is None else block.entries.items():
        here: KeyPath = (*path, "if", key)
        if isinstance(entry.node, Scalar) and entry.node.broken:
            continue
        known = [*when.WORDS, *when.FLAGS, *when.NUMBERS]
        if key not in known and not key.startswith(when.TAG):
            yield mistake(entry.mark, here, f"is not something a rule can ask{suggestion(key, known)}")
            continue
        condition = when.read(key, plain(entry.node))
        if isinstance(condition, str):
            yield mistake(entry.node.mark, here, condition)


def _ends(target: Node, route: str) -> tuple[str | None, str | None]:
    if not isinstance(target, Block):
        return word(target), route
    row = target.get("row")
    return word(target.get("channel")), route if row is None else word(row)


def _use(path: KeyPath, use: Node, targets: list[tuple[str | None, str | None]]) -> Iterator[Mistake]:
    at_channel = use.get("channel") if isinstance(use, Block) else use
    at_row = use.get("row") if isinstance(use, Block) else None
    channel, row = word(at_channel), word(at_row)
    if at_channel is None or channel is None or (at_row is not None and row is None):
        return
    rows = [its for name, its in targets if name == channel]
    if not rows:
        near = suggestion(channel, [name for name, _ in targets if name])
        yield mistake(use.mark, path, f"{shown(at_channel, channel)} is not a target of this route{near}")
    elif row is not None and row not in rows:
        yield mistake(use.mark, path, f"{quoted(f'{channel}/{row}')} is not a target of this route")
