"""Pages of requests: what a filter over all of them would give, and never by looking at all of them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, Select, select, text
from sqlalchemy.dialects import sqlite

from bench.million import END, fill, queries
from gateway.ports.readings import RequestQuery, Standing
from gateway.stores.listing import REACH, Reach, Walk, edge_of, filters_of, find_ids, page_of
from gateway.stores.schema import request_tags, requests
from gateway.stores.usage import first_id

ROWS = 2_000
NEAR = Reach(rows=7, entries=60)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    filled = fill(f"sqlite:///{tmp_path_factory.mktemp('listing') / 'waybill.db'}", ROWS)
    yield filled
    filled.dispose()


@pytest.fixture(scope="module")
def everything(engine: Engine) -> list[dict[str, object]]:
    with engine.begin() as connection:
        tags: dict[str, set[str]] = {}
        for tag, request_id in connection.execute(select(request_tags)):
            tags.setdefault(request_id, set()).add(tag)
        columns = [column for column in requests.columns if column.name != "record"]
        rows = connection.execute(select(*columns).order_by(requests.c.request_id.desc())).mappings().all()
    return [{**row, "tags": tags[row["request_id"]]} for row in rows]


def meets(row: dict[str, object], query: RequestQuery) -> bool:
    wanted = (
        ("owner", query.owner), ("channel", query.channel), ("asked_model", query.model), ("key_id", query.key),
        ("failure", query.failure), ("status", query.status),
    )  # fmt: skip
    status, name = row["status"], str(row["request_id"])
    is_bad = row["failure"] is not None or (isinstance(status, int) and status >= 400)
    stands = {
        None: True,
        Standing.OPEN: row["state"] == "open",
        Standing.INTERRUPTED: row["state"] == "interrupted",
        Standing.FAILED: is_bad or row["state"] == "interrupted",
    }
    tags = row["tags"]
    assert isinstance(tags, set)
    return (
        all(value is None or row[column] == value for column, value in wanted)
        and stands[query.standing]
        and set(query.tags) <= tags
        and (query.since is None or name >= first_id(query.since))
        and (query.until is None or name < first_id(query.until))
    )


@pytest.mark.parametrize("reach", [REACH, NEAR], ids=["far", "near"])
def test_all_pages_together_are_what_meets_the_filters(
    engine: Engine, everything: list[dict[str, object]], reach: Reach
) -> None:
    some = [query for _, query in queries()]
    open_ones = [RequestQuery(standing=Standing.OPEN), RequestQuery(standing=Standing.OPEN, owner="owner-1")]
    for query in [*some[:: 23 if reach is REACH else 97], *open_ones]:
        asked = replace(query, limit=13)
        found, before = [], None
        for _ in range(ROWS):
            with engine.begin() as connection:
                page, before = find_ids(connection, replace(asked, before=before), reach)
            assert len(page) <= asked.limit
            found += page
            if before is None or (reach is REACH and len(found) > 60):
                break
        expected = [str(row["request_id"]) for row in everything if meets(row, query)]
        assert found == expected[: len(found)], query
        assert before is not None or len(found) == len(expected), query


def test_a_page_that_comes_short_says_where_to_go_on(engine: Engine) -> None:
    query = RequestQuery(owner="owner-0", model="model-5")  # that owner never serves this model
    before, pages = None, 0
    while pages == 0 or before is not None:
        with engine.begin() as connection:
            page, following = find_ids(connection, replace(query, before=before), NEAR)
        assert page == []
        assert before is None or following is None or following < before
        before, pages = following, pages + 1
    assert pages > 10


def plan_of(engine: Engine, statement: Select[str]) -> list[str]:
    sql = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with engine.begin() as connection:
        return [str(row[3]) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}".replace(":", r"\:")))]


def test_no_combination_of_filters_looks_at_the_whole_table_or_sorts(engine: Engine) -> None:
    ids = ("request_id<?", "request_id>?")
    for name, query in list(queries())[::19]:
        for before in (None, first_id(END - timedelta(days=3))):
            asked = replace(query, before=before)
            filters = filters_of(asked)
            leaders = [one for one in filters if one.leading is not None]
            edge = first_id(END - timedelta(days=40))
            walks = [Walk(leader=one, edge=edge) for one in leaders] if len(filters) > 1 else []
            walks += [Walk(edge=edge)] if filters else [Walk()]
            walks += [Walk(leader=one) for one in leaders]
            for walk in walks:
                steps = plan_of(engine, page_of(asked, filters, walk))
                assert not any("TEMP B-TREE" in step for step in steps), (name, steps)
                first = steps[0]
                if walk.leader is not None:
                    assert leads(first, walk), (name, steps)
                elif filters:
                    assert first.startswith("SEARCH requests USING COVERING INDEX"), (name, steps)
                elif any((query.since, query.until, before)):
                    assert first.startswith("SEARCH "), (name, steps)
                    assert any(one in first for one in ids), (name, steps)
            for leader in (*leaders, None):
                (step,) = plan_of(engine, edge_of(asked, leader, REACH))
                assert " INDEX " in step or "PRIMARY KEY" in step, (name, step)


def leads(step: str, walk: Walk) -> bool:
    """Whether a walk goes along the index of its leader."""
    assert walk.leader is not None
    told = str(walk.leader.leading)
    names = {
        "request_tags": "request_tags",
        "asked_model": "ix_requests_asked_model",
        "key_id": "ix_requests_key_id",
        "channel": "ix_requests_channel",
        "requests.failure =": "ix_requests_failure",
        "requests.status =": "ix_requests_status",
        "requests.owner =": "ix_requests_owner",
    }
    return any(index in step for words, index in names.items() if words in told)
