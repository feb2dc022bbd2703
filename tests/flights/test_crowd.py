from pathlib import Path

from gateway.bodies.spool import DISK_CAP, MEMORY_TOTAL
from tests.flights.airport import airport
from tests.flights.crowd import crowd

CLIENTS = 200


async def test_purchases_are_the_distinct_requests(tmp_path: Path) -> None:
    async with airport(tmp_path, max_in_flight=CLIENTS) as all_:
        came = await crowd(all_, CLIENTS, at_once=60)
        assert came.is_right, came
        assert came.left > CLIENTS // 5
        figures = all_.gateway.gateway.airport.flights.figures
        assert (figures.rescued, figures.pictures) == (came.rescued, came.rescued)
        assert (figures.aloft, figures.unclaimed) == (0, 0)
        records = await all_.records(CLIENTS + came.rescued)
        assert sum("attempts" in record for record in records) == CLIENTS
        text = (await all_.client.get(f"{all_.gateway.url}/metrics")).text
        assert f"waybill_pictures_rescued_total {float(came.rescued)}" in text
        spool = all_.gateway.gateway.spool
        assert (spool.memory_left, spool.disk_left) == (MEMORY_TOTAL, DISK_CAP)
