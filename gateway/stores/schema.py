"""The tables of the ledger and its neighbours, and the schema revision this version of the program knows.

Portable on purpose: plain types, times as integer microseconds since 1970 (UTC), the record as JSON text, no
autoincrement, no dialect's own functions. Ids are time-ordered, so *newest first* is *largest id first* and every
listing pages by key. The tables' indexes stand in ``stores/indexes.py``. A change needs a new file under
``migrations/versions`` and a new entry in ``REVISIONS``; a test holds the two together.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)

from gateway.stores.metadata import metadata
from gateway.stores.refusals import SchemaTooNew
from gateway.stores.sum_tables import attempt_sums, request_sums

__all__ = ["attempt_sums", "metadata", "request_sums"]  # what other modules look for here too

REVISIONS = tuple(f"{number:04}" for number in range(1, 19))  # oldest first
HEAD = REVISIONS[-1]


class RequestState(StrEnum):
    """``open``: began, not settled. ``interrupted``: the server that ran it ended without settling."""

    OPEN = "open"
    DONE = "done"
    INTERRUPTED = "interrupted"


class AttemptState(StrEnum):
    """``sent``: its first byte may have left. ``interrupted``: how it ended was never written; outcome unknown."""

    SENT = "sent"
    ENDED = "ended"
    INTERRUPTED = "interrupted"


# ``owner`` and ``channel`` are those of the attempt last begun, until the settlement says who served the request.
requests = Table(
    "requests",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("asked_model", Text),
    Column("owner", Text),
    Column("channel", Text),
    Column("status", Integer),
    Column("failure", Text),
    Column("state", String(16), nullable=False),
    Column("config_version", Text),
    Column("record", Text),
    Column("images", Integer),
    Column("key_id", String(64)),
    Column("team", Text),
    Column("credits", BigInteger),
    Column("verdict", String(16)),
    Column("server_id", String(64)),
    Column("stream", Integer),
    Column("body_hash", String(64)),  # of one that may have bought a picture, until it is settled
    Column("rescued", Integer),  # pictures that a client got after another had left, or was told to come back
    CheckConstraint("state IN ('open', 'done', 'interrupted')", name="state"),
)

# The servers that share this ledger. ``beat`` grows while one lives; a row goes with its server, or when the others
# have seen it stand still for too long.
servers = Table(
    "servers",
    metadata,
    Column("server_id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("config_version", Text, nullable=False),
)

flights = Table(
    "flights",
    metadata,
    Column("flight_id", String(64), primary_key=True),
    Column("scope", String(64), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("server_id", String(64), nullable=False),
    Column("key_hash", String(64)),
    Column("body_hash", String(64), nullable=False),
    Column("looks", String(64), nullable=False, index=True),  # the hash of all that two of the same have in common
    Column("state", String(16), nullable=False),
    Column("is_stream", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False, index=True),
    Column("answer", Text),  # what somebody may come back for
    UniqueConstraint("scope", "endpoint", "key_hash"),
)

# The tags of a settled request, each as ``name=value``.
request_tags = Table(
    "request_tags",
    metadata,
    Column("tag", String(160), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("request_id", String(64), ForeignKey("requests.request_id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("attempt_id", String(64), nullable=False),
    Column("channel", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("row", Text, nullable=False),
    Column("surface", Text, nullable=False),
    Column("region", Text),
    Column("sent_model", Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", Text),
    Column("failure", Text),
    Column("detail", Text),
    Column("status", Integer),
    Column("duration_ms", BigInteger),
    Column("cost_micro", BigInteger),
    Column("cost_currency", String(16)),
    Column("cost_unit", String(32)),
    Column("cost_state", String(16)),
    Column("exposure_micro", BigInteger),
    Column("price_id", Text),
    UniqueConstraint("attempt_id"),
    CheckConstraint("state IN ('sent', 'ended', 'interrupted')", name="state"),
)

# What operators said of channels. A channel that was never braked has no row.
brakes = Table(
    "brakes",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("until_us", BigInteger),
    Column("reason", Text),
    Column("set_us", BigInteger, nullable=False),
    CheckConstraint("state IN ('on', 'drained', 'off')", name="state"),
)

# What operators were told of, by kind and subject, and when last.
alerts = Table(
    "alerts",
    metadata,
    Column("about", Text, primary_key=True),
    Column("told_us", BigInteger, nullable=False),
)

# Whose the ids are that an upstream gave. The key is part of what is looked up, never a filter afterwards; the id
# stands first, so that one look tells whether anybody has it.
bindings = Table(
    "bindings",
    metadata,
    Column("bound_id", String(512), primary_key=True),
    Column("key_id", String(64), primary_key=True),
    Column("channel", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Virtual keys; a row is never deleted. ``changed`` grows with each change of what the door must know, so that a replica
# reads only what is new to it; balances change with every request and leave it alone. ``terms``: the rest of what was
# ordered, as JSON.
keys = Table(
    "keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("hint", String(16), nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("terms", Text, nullable=False),
    Column("is_admin", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("credits", BigInteger),
    Column("credits_held", BigInteger, nullable=False),
    Column("budget_micro", BigInteger),
    Column("window_no", BigInteger, nullable=False),
    Column("spent_micro", BigInteger, nullable=False),
    Column("held_micro", BigInteger, nullable=False),
    UniqueConstraint("digest"),
    CheckConstraint("credits >= 0 AND credits_held >= 0 AND held_micro >= 0", name="balance"),
)

# What is reserved for requests under way; a row goes when its request is settled, or when its time is over.
holds = Table(
    "holds",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("unit", String(16), primary_key=True),
    Column("key_id", String(64), ForeignKey("keys.key_id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("window_no", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

# The journal of all balances: each entry once, named by its request (or grant), kind, attempt and unit.
entries = Table(
    "entries",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("unit", String(16), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    CheckConstraint("kind IN ('grant', 'hold', 'capture', 'void')", name="kind"),
    CheckConstraint("amount >= 0", name="amount"),
)

# Kept pictures. A row stays when its picture is gone (``gone_us``), so that verdicts and lineage outlive the bytes.
# ``key_id`` is the owner's scope, the empty string without a key.
assets = Table(
    "assets",
    metadata,
    Column("asset_id", String(64), primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("gone_us", BigInteger),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", BigInteger),
    Column("height", BigInteger),
    Column("alpha", Integer),
    Column("model", Text),
    Column("path", Text, nullable=False),
    Column("verdict", String(16)),
    CheckConstraint("verdict IN ('accepted', 'rejected')", name="verdict"),
)

asset_parents = Table(
    "asset_parents",
    metadata,
    Column("asset_id", String(64), primary_key=True),
    Column("parent_id", String(64), primary_key=True),
    Column("role", String(16), primary_key=True),
    sqlite_with_rowid=False,
)

# The bytes below the pictures. ``stored_us``: since when the store has them; ``doomed_us``: since when no picture has.
blobs = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("stored_us", BigInteger),
    Column("doomed_us", BigInteger),
    sqlite_with_rowid=False,
)

# What addresses of pictures are signed with: the newest signs, all verify. ``secret`` is hexadecimal.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("created_us", BigInteger, primary_key=True, autoincrement=False),
    Column("secret", String(128), nullable=False),
)

# What prompts are hashed with on all servers; ``secret`` (hexadecimal) absent: they were given it, and keep it.
prompt_keys = Table(
    "prompt_keys",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("secret", String(128)),
)

# How the last smoke run of each row ended, on a surface and through an account. ``model``: what was sent.
verifications = Table(
    "verifications",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("row", Text, primary_key=True),
    Column("surface", String(64), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("model", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("passed", Integer, nullable=False),
    CheckConstraint("passed IN (0, 1)", name="passed"),
)

# Written out as text, not with bound values: a partial index serves a query only when both say the same words.
FAILED = text("(failure IS NOT NULL OR status >= 400 OR state = 'interrupted')")
CLASSED = text("failure IS NOT NULL")
OPEN = text("state = 'open'")
CUT = text("state = 'interrupted'")
SENT = text("state = 'sent'")
UNNAMED = text("key_hash IS NULL")
HERE = text("gone_us IS NULL")
DOOMED = text("doomed_us IS NOT NULL")


def stored_revision(connection: Connection) -> str | None:
    """Read the schema revision of an open database; ``None`` when it has no schema of ours yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if revision is None else str(revision)


def refuse_newer(revision: str | None) -> None:
    """Raise ``SchemaTooNew`` for a revision this version does not know."""
    if revision is not None and revision not in REVISIONS:
        raise SchemaTooNew(revision, HEAD)
