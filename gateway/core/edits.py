"""Changes to a request's parameters as splices of its body: a value in another's place, a field taken out whole.

Rules: every other byte stays; what is left is a body of the same kind (no comma too many in JSON, no half part in a
form); splices never overlap, whatever is changed together. A change of a parameter that stands nowhere changes nothing,
unless it asks for less than the model would give by itself: then the parameter is put in.
"""

import json
from collections.abc import Mapping, Sequence

from gateway.core.splices import in_order
from gateway.core.translation import Change
from gateway.core.types import BodyMap, FieldPlace, Splice


def edits(body: BodyMap, changes: Sequence[Change], prefix: str = "") -> tuple[Splice, ...]:
    """Give the splices for ``changes``, in order. ``prefix`` stands before their names in ``body.fields``."""
    if not changes:
        return ()
    texts = {prefix + change.param: change.text for change in changes}
    found = {path: place for path, place in body.fields.items() if path in texts}
    splices = [
        Splice(start=place.value[0], end=place.value[1], text=_value(text, body))
        for path, place in found.items()
        if (text := texts[path]) is not None
    ]
    splices += _removals({path: place for path, place in found.items() if texts[path] is None})
    lowered = {change.param for change in changes if change.is_downgrade}
    absent = {name: text for name in sorted(lowered) if prefix + name not in found and (text := texts[prefix + name])}
    if absent:
        at = body.fields[f"{prefix}type"].whole[0] if prefix else body.insert_at
        splices.append(Splice(start=at, end=at, text=_inserted(absent, body)))
    return in_order(splices)


def _value(text: str, body: BodyMap) -> bytes:
    return json.dumps(text).encode() if body.boundary is None else text.encode()


def _inserted(texts: Mapping[str, str], body: BodyMap) -> bytes:
    """Write parameters as they stand at the head of an object that has other members, or of a form."""
    if body.boundary is None:
        return "".join(f"{json.dumps(name)}:{json.dumps(text)}," for name, text in texts.items()).encode()
    head = f'--{body.boundary}\r\nContent-Disposition: form-data; name="'
    return b"".join(f'{head}{name}"\r\n\r\n{text}\r\n'.encode() for name, text in texts.items())


def _removals(gone: Mapping[str, FieldPlace]) -> list[Splice]:
    """Take fields out, each with the comma after it; the last one, and those just before it, with the comma ahead."""
    places = sorted(gone.values(), key=lambda place: place.whole)
    tail = places[-1].whole if places and places[-1].follow is None else None
    if tail is not None:
        last = places.pop()
        while places and places[-1].whole[1] == last.lead:
            last = places.pop()
        tail = (last.whole[0] if last.lead is None else last.lead, tail[1])
    ranges = [(place.whole[0], place.whole[1] if place.follow is None else place.follow) for place in places]
    return [Splice(start=start, end=end, text=b"") for start, end in (*ranges, *([tail] if tail else []))]
