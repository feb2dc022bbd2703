"""The pictures of an images answer, wherever they are: inside it, or at an address that the upstream gave.

Rules: what an answer only points to is brought in, through the guard (``fetch``), as soon as the answer is here; it is
then measured, kept and given like any other. What cannot be had stays as it came: the address goes on to the client,
for the picture behind it is paid for. It must never decide in which form a client is given a picture.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.bodies.answer import AnswerSpool
from gateway.bodies.spool import SpooledBody
from gateway.core.answer_items import Item, are_plain, read_items
from gateway.core.delivery import Form, Shape
from gateway.core.reshape import Stock, reshape
from gateway.core.seen import AnswerFacts, Reading
from gateway.core.types import ImageFacts, RequestId
from gateway.core.weburl import Origin, origin_of

MOST_AT_ONCE: Final = 4  # downloads for one answer
NOT_A_PICTURE: Final = "not_a_picture"
MOST_ITEMS: Final = 64  # no answer has so many; one that has is left as it came


class Wanted(Struct, frozen=True, kw_only=True):
    """A picture to be had from elsewhere. ``own``: where its channel lies; ``give_up_at``: on the loop's clock."""

    url: str
    own: Origin | None
    give_up_at: float
    request_id: RequestId


class Fetched(Struct, frozen=True, kw_only=True):
    """A picture that was brought in; whoever gets it closes ``body``."""

    body: SpooledBody
    image: ImageFacts


class Unfetched(Struct, frozen=True, kw_only=True):
    """A picture that was not; ``reason`` is a word."""

    reason: str


class Fetcher(Protocol):
    """Gets pictures from addresses that others gave. Never raises for what they lead to."""

    async def fetch(self, wanted: Wanted) -> Fetched | Unfetched:
        """Get one picture."""
        ...


class Contents(Struct, frozen=True, kw_only=True):
    """The items of an answer, and for each the index of its picture in the answer's body, when it is there.

    ``not_pictures``: how many addresses led to something else. ``is_plain``: the items are the answer's pictures, as
    base64 and nothing else; where in the text they stand was not looked for.
    """

    items: Sequence[Item]
    pictures: Sequence[int | None]
    not_pictures: int = 0
    is_plain: bool = False

    def read_again(self, answer: AnswerSpool, reading: Reading) -> Reading:
        """Say what the answer contains, with the pictures that were brought in."""
        facts = [None if at is None else answer.facts(at) for at in self.pictures]
        linked = [item.link is not None and at is None for item, at in zip(self.items, self.pictures, strict=True)]
        return replace(
            reading,
            pictures=tuple(one for one in facts if one is not None),
            url_count=sum(linked),
            not_pictures=self.not_pictures,
        )

    def give(self, answer: AnswerSpool, wanted: Form | None, links: Sequence[str | None]) -> Shape | None:
        """Give the answer the wanted form, as far as it goes. ``links``: ours, of the reading's pictures.

        ``None``: nothing in it could be told apart, so it goes out as it came.
        """
        if self.is_plain and (wanted is None or not wanted.has_url):
            return Shape(form=Form.B64_JSON)
        skeleton = answer.skeleton()
        items = read_items(skeleton) if self.is_plain else self.items
        if not items:
            return None
        rest = iter(links)
        stocks = [self._stock(at, rest) for at in self.pictures]
        shaped = reshape(len(skeleton), items, wanted, stocks)
        if shaped.pieces:
            answer.rewrite(shaped.pieces)
        return Shape(form=shaped.form, translated=bool(shaped.pieces), missed=shaped.missed)

    @staticmethod
    def _stock(at: int | None, links: Iterator[str | None]) -> Stock:
        if at is None:
            return Stock()
        return Stock(picture=at, link=next(links, None))


def plain(facts: AnswerFacts) -> Contents | None:
    """Give the contents of an answer whose items are its pictures; ``None``: they are to be looked for."""
    count = len(facts.pictures)
    if facts.document is None or count > MOST_ITEMS or not are_plain(facts.document, facts.pictures):
        return None
    return Contents(items=(), pictures=range(count), is_plain=True)


async def bring_in(
    answer: AnswerSpool, fetcher: Fetcher | None, base_url: str, give_up_at: float, request_id: RequestId
) -> Contents:
    """Find the pictures of an answer of the channel at ``base_url``, and get those that it only points to."""
    items = read_items(answer.skeleton())
    if len(items) > MOST_ITEMS:
        return Contents(items=(), pictures=())
    pictures = [_held(answer, item) for item in items]
    elsewhere = {at: item.link for at, item in enumerate(items) if item.link is not None and not item.has_base64}
    if fetcher is None or not elsewhere:
        return Contents(items=items, pictures=pictures)
    own = origin_of(base_url)
    places = asyncio.Semaphore(MOST_AT_ONCE)
    reasons: list[str] = []

    async def bring(at: int, url: str) -> None:
        async with places:
            wanted = Wanted(url=url, own=own, give_up_at=give_up_at, request_id=request_id)
            got = await fetcher.fetch(wanted)
        if isinstance(got, Fetched):
            pictures[at] = answer.attach(got.body, got.image)
        else:
            reasons.append(got.reason)

    async with asyncio.TaskGroup() as group:
        for at, url in elsewhere.items():
            group.create_task(bring(at, url))
    return Contents(items=items, pictures=pictures, not_pictures=reasons.count(NOT_A_PICTURE))


def _held(answer: AnswerSpool, item: Item) -> int | None:
    """Give the index of the picture that an item holds, if it is one."""
    return item.payload if item.payload is not None and answer.facts(item.payload) is not None else None
