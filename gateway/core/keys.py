"""Virtual keys: how one is written, what is kept of it, and what may be ordered for a new one.

A key is ``wb-`` and 256 random bits; only its SHA-256 is kept, which is enough for a text that nobody can guess. What
is ordered comes as a JSON object, from the command line and from ``POST /api/keys`` alike, and is read here; every
function that reads raises ``ValueError`` with one sentence that says what to write instead and repeats nothing.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Final

from msgspec import Struct

from gateway.core.money import DEFAULT_CURRENCY, decimal
from gateway.core.prices import MICRO
from gateway.core.principal import NO_LIMITS, KeyLimits, KeyScope, Principal
from gateway.core.record import timestamp
from gateway.core.table import RouteTable
from gateway.core.types import JsonObject, JsonValue

KEY: Final = "key"  # before the id of a key
GRANT: Final = "grt"  # before the id of an addition to a balance
PREFIX: Final = "wb-"
KEY_BYTES: Final = 32
HINT_CHARS: Final = 7  # of a key, kept so that its owner can tell it from others
MOST_CREDITS: Final = 10**12
MOST_PER_MINUTE: Final = 1_000_000
NAME_CHARS: Final = 100
TEAM_CHARS: Final = 64
MOST_MODELS: Final = 100
MOST_TAGS: Final = 16

_AMOUNT: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)[ ]?([A-Z]{3})/(\S+)", re.ASCII)
_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})(m|h|d)", re.ASCII)
_UNITS: Final[Mapping[str, int]] = {"m": 60, "h": 3_600, "d": 86_400}
_MOST_SPAN_S: Final = 3_650 * 86_400
_TAG: Final = re.compile(r"([A-Za-z0-9_.-]{1,64})=([A-Za-z0-9_.:/@+-]{1,64})")
_WHOLE: Final = re.compile(r"[0-9]{1,13}", re.ASCII)
_FIELDS: Final = frozenset(
    {"name", "team", "credits", "budget", "rpm", "ipm", "concurrency", "models", "tags", "scopes", "expires", "keep"}
)


class BudgetTerms(Struct, frozen=True, kw_only=True):
    """Money that may be spent in each window of so many seconds."""

    amount_micro: int
    currency: str
    window_s: int

    @property
    def text(self) -> str:
        """Write it as it is ordered: ``20USD/30d``."""
        unit = next(unit for unit in ("d", "h", "m") if self.window_s % _UNITS[unit] == 0)
        amount = decimal(self.amount_micro).rstrip("0").rstrip(".")
        return f"{amount}{self.currency}/{self.window_s // _UNITS[unit]}{unit}"


class NewKey(Struct, frozen=True, kw_only=True):
    """What is ordered for a key. ``credits`` absent: it has none. ``expires_s``: from now on. ``keeps``: pictures."""

    name: str
    team: str | None = None
    credits: int | None = None
    budget: BudgetTerms | None = None
    limits: KeyLimits = NO_LIMITS
    models: tuple[str, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    scopes: frozenset[KeyScope] = frozenset({KeyScope.USE})
    expires_s: int | None = None
    keeps: bool = True


class KeyFacts(Struct, frozen=True, kw_only=True):
    """What the door knows of a key: who shows it, and until when it is one."""

    digest: str
    principal: Principal
    expires: datetime | None = None
    is_revoked: bool = False

    def is_good(self, now: datetime) -> bool:
        """Whether the key opens anything at this moment."""
        return not self.is_revoked and (self.expires is None or now < self.expires)


class KeyRow(Struct, frozen=True, kw_only=True):
    """One key as it is listed. ``spent_micro`` and ``reserved_micro`` are those of the window of this moment."""

    key_id: str
    hint: str
    terms: NewKey
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    credits_held: int = 0
    spent_micro: int = 0
    reserved_micro: int = 0
    window_ends: datetime | None = None

    def as_json(self) -> JsonObject:
        """Give the key with the interface's names; what it has not is ``null``."""
        terms, limits = self.terms, self.terms.limits
        return {
            "id": self.key_id,
            "name": terms.name,
            "hint": self.hint,
            "team": terms.team,
            "credits": terms.credits,
            "credits_held": self.credits_held,
            "budget": None if terms.budget is None else self._budget(terms.budget),
            "rpm": limits.requests_per_minute,
            "ipm": limits.images_per_minute,
            "concurrency": limits.at_once,
            "models": None if terms.models is None else list(terms.models),
            "tags": dict(terms.tags),
            "scopes": sorted(scope.value for scope in terms.scopes),
            "keep": terms.keeps,
            "created_at": timestamp(self.created),
            "expires_at": None if self.expires is None else timestamp(self.expires),
            "revoked_at": None if self.revoked is None else timestamp(self.revoked),
        }

    def _budget(self, terms: BudgetTerms) -> JsonObject:
        return {
            "terms": terms.text,
            "amount_micro": terms.amount_micro,
            "currency": terms.currency,
            "window_s": terms.window_s,
            "spent_micro": self.spent_micro,
            "reserved_micro": self.reserved_micro,
            "window_ends_at": None if self.window_ends is None else timestamp(self.window_ends),
        }


def currencies(table: RouteTable) -> frozenset[str]:
    """Give the currencies that prices are in; a budget in any other could buy nothing."""
    prices = (row.price for channel in table.channels.values() for row in channel.rows.values())
    return frozenset({DEFAULT_CURRENCY, *(price.currency for price in prices if price is not None)})


def key_text(random: bytes) -> str:
    """Write a key of 32 random bytes."""
    return PREFIX + urlsafe_b64encode(random).rstrip(b"=").decode()


def digest_of(text: str) -> str:
    """Give what is kept of a key instead of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_order(document: JsonObject, currencies: Collection[str]) -> NewKey:
    """Read what is ordered; ``currencies``: those that prices are in. Raises ``ValueError``."""
    if not document.keys() <= _FIELDS:
        raise ValueError(f"a key has the fields {', '.join(sorted(_FIELDS))}")
    given = {name: value for name, value in document.items() if value is not None}
    return NewKey(
        name=_line(given.get("name"), "name", NAME_CHARS),
        team=_line(given["team"], "team", TEAM_CHARS) if "team" in given else None,
        credits=_whole(given["credits"], "credits", 0, MOST_CREDITS) if "credits" in given else None,
        budget=_budget(given["budget"], currencies) if "budget" in given else None,
        limits=KeyLimits(
            requests_per_minute=_limit(given, "rpm"),
            images_per_minute=_limit(given, "ipm"),
            at_once=_limit(given, "concurrency"),
        ),
        models=_models(given["models"]) if "models" in given else None,
        tags=_tags(given["tags"]) if "tags" in given else (),
        scopes=_scopes(given["scopes"]) if "scopes" in given else frozenset({KeyScope.USE}),
        expires_s=_span(given["expires"], "expires") if "expires" in given else None,
        keeps=_yes_or_no(given.get("keep", True), "keep"),
    )


def read_credits(value: JsonValue) -> int:
    """Read how many credits are added; at least one. Raises ``ValueError``."""
    return _whole(value, "credits", 1, MOST_CREDITS)


def _line(value: JsonValue, name: str, most: int) -> str:
    if not (isinstance(value, str) and value and len(value) <= most and value.isprintable() and value == value.strip()):
        raise ValueError(f"{name} must be one line of 1 to {most} printable characters, without a space at its ends")
    return value


def _yes_or_no(value: JsonValue, name: str) -> bool:
    if value is True or value is False:
        return value
    raise ValueError(f"{name} must be true or false")


def _whole(value: JsonValue, name: str, least: int, most: int) -> int:
    number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return number


def _limit(given: Mapping[str, JsonValue], name: str) -> int | None:
    return _whole(given[name], name, 1, MOST_PER_MINUTE) if name in given else None


def _span(value: JsonValue, name: str) -> int:
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    span_s = 0 if match is None else int(match[1]) * _UNITS[match[2]]
    if not 0 < span_s <= _MOST_SPAN_S:
        raise ValueError(f"{name} must be a time like 90d, 12h or 30m, of at most 3650d")
    return span_s


def _budget(value: JsonValue, currencies: Collection[str]) -> BudgetTerms:
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("budget must be an amount, a currency and a window, like 20USD/30d")
    if match[2] not in currencies:
        raise ValueError(f"budget must be in a currency that prices are in: {', '.join(sorted(currencies))}")
    amount = Fraction(match[1]) * MICRO
    if amount <= 0:
        raise ValueError("budget must be more than nothing")
    return BudgetTerms(amount_micro=int(amount), currency=match[2], window_s=_span(match[3], "the budget's window"))


def _words(value: JsonValue, name: str) -> list[str]:
    """Give the words of a list, or of a text with commas."""
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    words = [word.strip() for word in listed if isinstance(word, str) and word.strip()]
    if not words or len(words) != len(listed):
        raise ValueError(f"{name} must be one or more words, in a list or with commas between them")
    return list(dict.fromkeys(words))


def _models(value: JsonValue) -> tuple[str, ...]:
    words = _words(value, "models")
    if len(words) > MOST_MODELS or any(len(word) > 200 or not word.isprintable() for word in words):
        raise ValueError(f"models must be at most {MOST_MODELS} names of routes")
    return tuple(words)


def _tags(value: JsonValue) -> tuple[tuple[str, str], ...]:
    if isinstance(value, Mapping):
        words = [f"{name}={word}" for name, word in value.items() if isinstance(word, str)]
        is_whole = len(words) == len(value)
    else:
        words, is_whole = _words(value, "tags"), True
    found = [_TAG.fullmatch(word) for word in words]
    tags = {match[1]: match[2] for match in found if match is not None}
    if not is_whole or len(tags) != len(words) or len(words) > MOST_TAGS:
        raise ValueError(f"tags must be at most {MOST_TAGS} different ones, like team=web,use=hero, without spaces")
    return tuple(tags.items())


def _scopes(value: JsonValue) -> frozenset[KeyScope]:
    words = _words(value, "scopes")
    if not set(words) <= set(KeyScope):
        raise ValueError("scopes must be use, admin or both")
    return frozenset(KeyScope(word) for word in words)
