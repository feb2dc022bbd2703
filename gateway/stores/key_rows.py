"""A key between its row and its value: the terms as JSON, balances beside them in columns of their own."""

from datetime import datetime, timedelta

import orjson
from sqlalchemy import RowMapping

from gateway.core.keys import HINT_CHARS, BudgetTerms, KeyFacts, KeyRow, NewKey, digest_of
from gateway.core.principal import Budget, KeyLimits, KeyScope, Principal
from gateway.core.types import JsonObject
from gateway.stores.commands import epoch_us, from_epoch_us
from gateway.stores.statement import Row


def new_row(key_id: str, text: str, terms: NewKey, now: datetime, changed: int) -> Row:
    """Give the values of ``keys_sql.CREATED`` for a new key."""
    budget = terms.budget
    expires = None if terms.expires_s is None else now + timedelta(seconds=terms.expires_s)
    return (
        key_id,
        digest_of(text),
        text[:HINT_CHARS],
        changed,
        orjson.dumps(terms_json(terms)).decode(),
        int(KeyScope.ADMIN in terms.scopes),
        epoch_us(now),
        None if expires is None else epoch_us(expires),
        terms.credits,
        0,
        None if budget is None else budget.amount_micro,
        0,
        0,
        0,
    )


def terms_json(terms: NewKey) -> JsonObject:
    """Give what was ordered, but for the credits, which change."""
    budget, limits = terms.budget, terms.limits
    return {
        "name": terms.name,
        "team": terms.team,
        "budget": None if budget is None else [budget.amount_micro, budget.currency, budget.window_s],
        "limits": [limits.requests_per_minute, limits.images_per_minute, limits.at_once],
        "models": None if terms.models is None else list(terms.models),
        "tags": dict(terms.tags),
        "scopes": sorted(scope.value for scope in terms.scopes),
        "keep": terms.keeps,
    }


def terms_of(cell: RowMapping) -> NewKey:
    """Read what was ordered, with the credits of this moment."""
    found = orjson.loads(cell["terms"])
    requests, images, at_once = found["limits"]
    budget = found["budget"]
    return NewKey(
        name=found["name"],
        team=found["team"],
        credits=cell["credits"],
        budget=None if budget is None else BudgetTerms(amount_micro=budget[0], currency=budget[1], window_s=budget[2]),
        limits=KeyLimits(requests_per_minute=requests, images_per_minute=images, at_once=at_once),
        models=None if found["models"] is None else tuple(found["models"]),
        tags=tuple(found["tags"].items()),
        scopes=frozenset(KeyScope(word) for word in found["scopes"]),
        keeps=found.get("keep", True),
    )


def facts_of(cell: RowMapping) -> KeyFacts:
    """Give what the door knows of a key."""
    terms = terms_of(cell)
    return KeyFacts(
        digest=cell["digest"],
        expires=_moment(cell["expires_us"]),
        is_revoked=cell["revoked_us"] is not None,
        principal=Principal(
            key_id=cell["key_id"],
            team=terms.team,
            name=terms.name,
            models=None if terms.models is None else frozenset(terms.models),
            scopes=terms.scopes,
            limits=terms.limits,
            budget=_budget(cell, terms),
            tags=terms.tags,
            keeps=terms.keeps,
        ),
    )


def row_of(cell: RowMapping, now: datetime) -> KeyRow:
    """Give a key as it is listed at this moment."""
    terms = terms_of(cell)
    budget = _budget(cell, terms)
    window = 0 if budget is None else budget.window(now)
    return KeyRow(
        key_id=cell["key_id"],
        hint=cell["hint"],
        terms=terms,
        created=from_epoch_us(cell["created_us"]),
        expires=_moment(cell["expires_us"]),
        revoked=_moment(cell["revoked_us"]),
        credits_held=cell["credits_held"],
        spent_micro=cell["spent_micro"] if cell["window_no"] == window else 0,
        reserved_micro=cell["held_micro"],
        window_ends=None if budget is None else budget.ends(window),
    )


def _budget(cell: RowMapping, terms: NewKey) -> Budget | None:
    budget = terms.budget
    if budget is None:
        return None
    return Budget(
        amount_micro=budget.amount_micro,
        currency=budget.currency,
        window_s=budget.window_s,
        since=from_epoch_us(cell["created_us"]),
    )


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else from_epoch_us(time_us)
