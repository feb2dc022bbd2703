"""An images answer whose pictures change their form: which pieces of its text stay, and what stands between them.

A picture's member is replaced where it stands, ``b64_json`` by ``url`` or the other way round; every other byte stays.
An item whose picture is not at hand in the wanted form stays as it came. Nothing is copied here: the result says which
pieces of the skeleton, which new text and which pictures follow each other.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from gateway.core.answer_items import B64_JSON, URL, Item, Member
from gateway.core.delivery import Form


class Stock(Struct, frozen=True, kw_only=True):
    """What may be put in: ``picture``, an index of what the answer's body holds; ``link``: an address of ours."""

    picture: int | None = None
    link: str | None = None


class Span(Struct, frozen=True):
    """Bytes ``start:end`` of the skeleton, the pictures that stand in it included."""

    start: int
    end: int


Piece = Span | bytes | int
"""What the new answer consists of: a span of the old one, new text, or a picture (as base64) by its index."""


class Reshaped(Struct, frozen=True, kw_only=True):
    """The new answer. ``pieces`` is empty when nothing changes; ``missed``: an item is not in the wanted form.

    ``form`` is that of its pictures in the end, ``None`` when there is none.
    """

    form: Form | None
    pieces: tuple[Piece, ...] = ()
    missed: bool = False


class _Splice(Struct, frozen=True, kw_only=True):
    """Bytes ``start:end`` of the skeleton become these pieces."""

    start: int
    end: int
    pieces: tuple[Piece, ...] = ()


def reshape(length: int, items: Sequence[Item], wanted: Form | None, stocks: Sequence[Stock]) -> Reshaped:
    """Say how an answer reads in the wanted form (``None``: as it came).

    ``length``: bytes of the skeleton. ``stocks``: what there is of each item's picture.
    """
    splices: list[_Splice] = []
    forms: set[Form] = set()
    missed = False
    for item, stock in zip(items, stocks, strict=True):
        new = {} if wanted is None else _new(item, wanted, stock)
        splices += _splices(item, new, is_both=wanted is Form.BOTH)
        form = _form(item, set(new), wanted)
        if form is None:
            continue
        forms.add(form)
        missed |= wanted is not None and form not in (wanted, Form.BOTH)
    return Reshaped(
        form=next(iter(forms)) if len(forms) == 1 else Form.BOTH if forms else None,
        pieces=tuple(_pieces(length, splices)) if splices else (),
        missed=missed,
    )


def _new(item: Item, wanted: Form, stock: Stock) -> Mapping[str, tuple[Piece, ...]]:
    """Give the values to put in, by their member; none when the item has the form, or cannot have it."""
    new: dict[str, tuple[Piece, ...]] = {}
    if wanted.has_url and stock.link is not None:
        new[URL] = (json.dumps(stock.link).encode(),)
    if wanted.has_base64 and not item.has_base64 and stock.picture is not None:
        new[B64_JSON] = (b'"', stock.picture, b'"')
    return new


def _form(item: Item, new: set[str], wanted: Form | None) -> Form | None:
    """Give the form an item has in the end; ``None``: it has no picture."""
    had = {name for name, holds in ((B64_JSON, item.has_base64), (URL, item.has_url)) if holds}
    has = new if new and wanted is not Form.BOTH else had | new
    if len(has) > 1:
        return Form.BOTH
    return Form(next(iter(has))) if has else None


def _splices(item: Item, new: Mapping[str, tuple[Piece, ...]], *, is_both: bool) -> Iterator[_Splice]:
    for name, value in new.items():
        there, other = item.members.get(name), item.members.get(URL if name == B64_JSON else B64_JSON)
        if there is not None:
            yield _Splice(start=there.value, end=there.end, pieces=value)
            if other is not None and not is_both:
                yield _without(other)
        elif other is not None:
            key = f'"{name}":'.encode()
            if is_both:
                yield _Splice(start=other.end, end=other.end, pieces=(b"," + key, *value))
            else:
                yield _Splice(start=other.start, end=other.end, pieces=(key, *value))


def _without(member: Member) -> _Splice:
    """Take a member out, with one comma; there is another one beside it."""
    if member.follow > member.end:
        return _Splice(start=member.start, end=member.follow)
    return _Splice(start=member.lead, end=member.end)


def _pieces(length: int, splices: Sequence[_Splice]) -> Iterator[Piece]:
    at = 0
    for splice in sorted(splices, key=lambda one: (one.start, one.end)):
        if splice.start > at:
            yield Span(at, splice.start)
        yield from splice.pieces
        at = splice.end
    if at < length:
        yield Span(at, length)
