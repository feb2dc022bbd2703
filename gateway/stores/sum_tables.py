"""The tables of the sums by day; ``schema`` lists them with all others."""

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from gateway.stores.metadata import metadata

# What requests that are over add up to, by day (since 1970, UTC) and all that usage is grouped by; "": none. ``shard``
# keeps threads that write at once out of each other's rows; who reads adds them up. Kept by ``stores/tally.py``. What
# has a default came later: a server of an older version, during a roll-out, does not name it.
request_sums = Table(
    "request_sums",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("key_id", String(64), primary_key=True),
    Column("team", Text, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("delivered", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    Column("rescued", BigInteger, nullable=False, server_default="0"),
    Column("lost", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

attempt_sums = Table(
    "attempt_sums",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("key_id", String(64), primary_key=True),
    Column("team", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("unit", String(32), primary_key=True),
    Column("currency", String(16), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("attempts", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("amount_micro", BigInteger, nullable=False),
    Column("exposure_micro", BigInteger, nullable=False),
    Column("rescued_micro", BigInteger, nullable=False, server_default="0"),
    Column("lost_micro", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
