"""The ledger's writing statements, built with SQLAlchemy Core and compiled to SQL text once per kind of database.

Each ``*_ORDER`` names the parameters in the order their row tuples have; ``Statement`` checks it against what the
compiler made, so a changed column cannot shift a value into its neighbour.

Repeating is harmless: a settlement changes only a request that is not done, and an ending only an attempt that has
not ended, so the first one stands.
"""

from collections.abc import Mapping

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    bindparam,
    column,
    delete,
    func,
    null,
    table,
    update,
)

from gateway.stores.engine import Inserting
from gateway.stores.schema import attempts, bindings, request_tags, requests
from gateway.stores.statement import Statement, adding, ignoring

_COSTS = (
    "new_cost_micro", "new_cost_currency", "new_cost_unit", "new_cost_state", "new_exposure_micro", "new_price_id",
)  # fmt: skip
_NEW_COST: Mapping[str, BindParameter[object]] = {name.removeprefix("new_"): bindparam(name) for name in _COSTS}

OPENED_ORDER = (
    "request_id", "time_us", "endpoint", "asked_model", "owner", "channel", "state", "config_version",
    "key_id", "team", "server_id", "stream", "body_hash",
)  # fmt: skip
MOVED_ORDER = ("new_owner", "new_channel", "the_request")
SENT_ORDER = (
    "request_id", "n", "attempt_id", "channel", "owner", "row", "surface", "region", "sent_model", "started_us",
    "state", "cost_micro", "cost_currency", "cost_unit", "cost_state", "exposure_micro", "price_id",
)  # fmt: skip
SETTLED_ORDER = (
    "request_id", "time_us", "endpoint", "asked_model", "owner", "channel", "status", "failure", "state", "record",
    "images", "key_id", "team", "credits",
)  # fmt: skip
CONFIRMED_ORDER = (
    "new_status", "new_failure", "new_state", "new_record", "new_images", "new_credits", "the_request", "open",
    "the_owner", "the_channel", "the_key", "the_team",
)  # fmt: skip
ENDED_ORDER = (
    "new_state", "new_outcome", "new_failure", "new_detail", "new_status", "new_duration_ms", *_COSTS,
    "the_attempt", "ended",
)  # fmt: skip
BOUND_ORDER = ("bound_id", "key_id", "channel", "fingerprint", "created_us")
UNBOUND_ORDER = ("the_id", "the_key")
VOIDED_ORDER = ("new_state", "new_outcome", "new_detail", *_COSTS, "the_attempt", "sent")


def _settled(inserting: Inserting) -> ClauseElement:
    row = inserting(requests).values({name: bindparam(name) for name in SETTLED_ORDER})
    kept = {"request_id", "time_us", "endpoint", "asked_model"}  # what the intent said first
    told = {"key_id", "team"}  # at the beginning, or only now
    changed: dict[str, ColumnElement[object] | ColumnElement[None]] = {
        name: func.coalesce(row.excluded[name], requests.c[name]) if name in told else row.excluded[name]
        for name in SETTLED_ORDER
        if name not in kept
    }
    changed["body_hash"] = null()  # nobody looks for it any more
    return row.on_conflict_do_update(
        index_elements=[requests.c.request_id], set_=changed, where=requests.c.state != row.excluded.state
    )


# A request that begins; the owner and channel are its first attempt's.
OPENED = adding(requests, OPENED_ORDER)

# A further attempt moves the request to another owner and channel.
MOVED = Statement(
    update(requests)
    .where(requests.c.request_id == bindparam("the_request"))
    .values(owner=bindparam("new_owner"), channel=bindparam("new_channel")),
    MOVED_ORDER,
)

# An attempt whose first byte may leave once this has committed.
SENT = adding(attempts, SENT_ORDER)

# The end of a request that is filed as it began: nothing that it is listed by, but for how it ended, is written again.
CONFIRMED = Statement(
    update(requests)
    .where(
        requests.c.request_id == bindparam("the_request"),
        requests.c.state == bindparam("open"),
        requests.c.owner.is_not_distinct_from(bindparam("the_owner")),
        requests.c.channel.is_not_distinct_from(bindparam("the_channel")),
        requests.c.key_id.is_not_distinct_from(bindparam("the_key")),
        requests.c.team.is_not_distinct_from(bindparam("the_team")),
    )
    .values(
        status=bindparam("new_status"),
        failure=bindparam("new_failure"),
        state=bindparam("new_state"),
        record=bindparam("new_record"),
        images=bindparam("new_images"),
        credits=bindparam("new_credits"),
        body_hash=null(),  # nobody looks for it any more
    ),
    CONFIRMED_ORDER,
)

# The end of a request, whether or not it ever began; only a settled row has the state of the one that comes.
SETTLED = Statement(_settled, SETTLED_ORDER)

# A request that bought for a client who had left, and that another one got; the first who says it is right.
RESCUED = Statement(
    update(requests)
    .where(requests.c.request_id == bindparam("the_request"), requests.c.rescued.is_(None))
    .values(rescued=bindparam("pictures")),
    ("pictures", "the_request"),
)

# What the caller had the request filed under.
TAGGED = ignoring(request_tags, ("tag", "request_id"))

# The end of an attempt.
ENDED = Statement(
    update(attempts)
    .where(attempts.c.attempt_id == bindparam("the_attempt"), attempts.c.state != bindparam("ended"))
    .values(
        state=bindparam("new_state"),
        outcome=bindparam("new_outcome"),
        failure=bindparam("new_failure"),
        detail=bindparam("new_detail"),
        status=bindparam("new_status"),
        duration_ms=bindparam("new_duration_ms"),
        **_NEW_COST,
    ),
    ENDED_ORDER,
)

# An attempt whose caller had given up waiting when it was committed: nothing was sent for it.
VOIDED = Statement(
    update(attempts)
    .where(attempts.c.attempt_id == bindparam("the_attempt"), attempts.c.state == bindparam("sent"))
    .values(
        state=bindparam("new_state"), outcome=bindparam("new_outcome"), detail=bindparam("new_detail"), **_NEW_COST
    ),
    VOIDED_ORDER,
)

# Changes nothing, but has to reach the disk like everything else: whether the ledger can be written.
PROBED = Statement(
    update(table("alembic_version", column("version_num"))).values(version_num=column("version_num")), ()
)

# Whose an id is; the first to have said so is right.
BOUND = ignoring(bindings, BOUND_ORDER)

# An id that was deleted.
UNBOUND = Statement(
    delete(bindings).where(bindings.c.bound_id == bindparam("the_id"), bindings.c.key_id == bindparam("the_key")),
    UNBOUND_ORDER,
)
