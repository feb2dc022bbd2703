"""Flights in one process: who leaves and comes back gets what was bought for him, and it is bought once."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.fakes.answers import responses_answer
from tests.fakes.script import reply
from tests.flights.airport import DRAWING, GENERATION, PICTURE, airport, slow


async def test_who_left_finds_the_picture_that_was_bought_for_him(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        await all_.leave_behind()
        [first] = await all_.records(1)
        assert (first["result"]["delivery"], first["attempts"][0]["outcome"]) == ("none", "delivered")
        answer = await all_.generate()
        assert (answer.status_code, answer.content) == (200, PICTURE)
        assert answer.headers["x-flight-id"] == first["flight_id"]
        assert answer.headers["x-request-id"] != first["request_id"]
        assert answer.headers["x-route-owner"] == "owner-A"
        assert all_.upstream.count == 1
        again = await all_.gateway.record(answer.headers["x-request-id"])
        assert (again["flight_id"], again["result"]["delivery"]) == (first["flight_id"], "b64_json")
        assert "attempts" not in again
        assert (await all_.generate()).status_code == 200  # it was delivered: the next one is a new purchase
        assert all_.upstream.count == 2


async def test_who_comes_back_in_the_air_waits_for_the_same_flight(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        await all_.leave_behind()
        assert (await all_.generate()).content == PICTURE
        assert all_.upstream.count == 1


async def test_one_answer_serves_one_who_comes_back(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        writers = [await all_.send(GENERATION) for _ in range(2)]
        await all_.upstream.counted(2)
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        await all_.records(2)
        answers = await asyncio.gather(*(all_.generate() for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert all_.upstream.count == 3
        assert len({answer.headers.get("x-flight-id") for answer in answers}) == 3  # one of them made his own


async def test_another_body_is_another_request(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        await all_.leave_behind()
        other = await all_.post("images/generations", {**GENERATION, "size": "1024x1024"})
        assert "x-flight-id" not in other.headers
        assert all_.upstream.count == 2
        assert (await all_.generate()).headers["x-flight-id"]
        assert all_.upstream.count == 2


async def test_a_refused_purchase_is_tried_anew(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(reply(503, {"error": {"message": "busy"}}, delay_s=0.2))
        await all_.leave_behind()
        await all_.records(1)
        assert (await all_.generate()).status_code == 200
        assert all_.upstream.count == 2


async def test_the_truth_about_a_lost_purchase_is_told_once(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        all_.upstream.play(reply(504, {"error": {"message": "late"}}, delay_s=0.2))
        await all_.leave_behind()
        await all_.records(1)
        told = await all_.generate()
        assert told.status_code == 504
        assert told.headers["x-should-retry"] == "false"
        assert all_.upstream.count == 1
        assert (await all_.generate()).status_code == 200
        assert all_.upstream.count == 2


async def test_the_window_is_over_and_the_flight_goes_on(tmp_path: Path) -> None:
    async with airport(tmp_path, window="200ms") as all_:
        told = await all_.generate()
        assert (told.status_code, told.json()["error"]["code"]) == (503, "in_progress")
        assert (told.headers["x-should-retry"], told.headers["retry-after"]) == ("true", "1")
        assert told.headers["location"] == f"/v1/flights/{told.headers['x-flight-id']}"
        assert (told.headers["x-route-attempts"], told.headers["x-route-owner"]) == ("1", "owner-A")
        seen = (await all_.look(told.headers["x-flight-id"])).json()
        assert (seen["state"], seen["request_id"]) == ("sent", told.headers["x-request-id"])
        assert (await all_.generate()).status_code == 503
        assert (await all_.generate()).content == PICTURE
        assert all_.upstream.count == 1


async def test_what_is_under_way_has_no_cost_yet(tmp_path: Path) -> None:
    async with airport(tmp_path, window="200ms") as all_:
        told = await all_.generate()
        assert told.status_code == 503
        assert told.headers["x-cost"] == "unknown; state=missing; unit=none"


async def test_who_comes_back_for_an_error_is_told_what_was_tried(tmp_path: Path) -> None:
    async with airport(tmp_path, window="200ms") as all_:
        all_.upstream.play(reply(504, {"error": {"message": "late"}}, delay_s=0.5))
        assert (await all_.generate()).status_code == 503
        while (told := await all_.generate()).status_code == 503:
            pass
        (tried,) = told.json()["error"]["attempts"]
        assert (tried["channel"], tried["class"], tried["status"]) == ("A", "timeout", 504)
        assert (told.headers["content-type"], told.headers["x-route-attempts"]) == ("application/json", "1")
        assert all_.upstream.count == 1


async def test_a_flight_that_was_announced_and_delivered_says_so(tmp_path: Path) -> None:
    async with airport(tmp_path, window="200ms") as all_:
        told = await all_.generate()
        while (await all_.generate()).status_code == 503:
            pass
        seen = await all_.look(told.headers["x-flight-id"])
        assert (seen.status_code, seen.json()["state"]) == (200, "delivered")
        assert seen.json()["request_id"] == told.headers["x-request-id"]
        assert "result" not in seen.json()
        assert seen.headers.get("retry-after") is None
        again = await all_.generate(x_flight_id=told.headers["x-flight-id"])
        assert (again.status_code, again.json()["error"]["code"]) == (404, "flight_not_found")
        assert all_.upstream.count == 1
        gone = await all_.client.delete(f"{all_.gateway.url}{told.headers['location']}")
        assert gone.json()["state"] == "delivered"
        assert (await all_.look(told.headers["x-flight-id"])).status_code == 404


async def test_a_turn_that_draws_is_a_flight_too(tmp_path: Path) -> None:
    drawn = responses_answer()
    async with airport(tmp_path) as all_:
        all_.upstream.play(slow(0.3, drawn))
        await all_.leave_behind(DRAWING, "responses")
        answer = await all_.post("responses", DRAWING)
        assert answer.status_code == 200
        assert all_.upstream.count == 1


async def test_a_turn_that_only_speaks_is_cut_short_and_asked_anew(tmp_path: Path) -> None:
    speaking: dict[str, Any] = {"model": "chat", "input": "hello"}
    async with airport(tmp_path) as all_:
        all_.upstream.play(slow(3), reply(200, responses_answer(picture=False)))
        await all_.leave_behind(speaking, "responses")
        await all_.records(1)
        assert (await all_.post("responses", speaking)).status_code == 200
        assert all_.upstream.count == 2


async def test_respond_async(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        taken = await all_.generate(prefer="respond-async, wait=10")
        assert (taken.status_code, taken.headers["preference-applied"]) == (202, "respond-async")
        place = taken.headers["location"]
        assert taken.json()["id"] == taken.headers["x-flight-id"] == place.rpartition("/")[2]
        await all_.upstream.counted(1)
        assert (await all_.look(taken.json()["id"])).json()["state"] == "sent"
        await all_.landed(taken.json()["id"])
        seen = await all_.look(taken.json()["id"])
        assert (seen.json()["state"], seen.json()["status"]) == ("late", 200)
        assert seen.json()["result"] == json.loads(PICTURE)
        assert seen.headers["x-route-owner"] == "owner-A"
        gone = await all_.client.delete(f"{all_.gateway.url}{place}")
        assert (gone.status_code, gone.json()["deleted"]) == (200, True)
        missing = await all_.look(taken.json()["id"])
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "flight_not_found")


async def test_an_unknown_flight_is_none(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        for name in ("fl_" + "0" * 32, "fl_1", "..", "%00"):
            assert (await all_.look(name)).status_code == 404
        named = await all_.generate(x_flight_id="fl_" + "0" * 32)
        assert (named.status_code, named.json()["error"]["code"]) == (404, "flight_not_found")
        assert all_.upstream.count == 0


async def test_the_record_says_what_its_client_was_told_meanwhile(tmp_path: Path) -> None:
    async with airport(tmp_path, "200ms") as all_:
        told = await all_.generate()
        assert (told.status_code, told.json()["error"]["code"]) == (503, "in_progress")
        [record] = await all_.records(1)
        assert record["request_id"] == told.headers["x-request-id"]
        assert record["result"]["status"] == 200
        assert (record["result"]["told_status"], record["result"]["told_code"]) == (503, "in_progress")
        answer = await all_.generate()
        own = await all_.gateway.record(answer.headers["x-request-id"])
        assert (answer.status_code, own["result"]["status"], own["flight_id"]) == (200, 200, record["flight_id"])
        assert "told_status" not in own["result"]


async def test_the_record_says_that_its_client_did_not_wait(tmp_path: Path) -> None:
    async with airport(tmp_path) as all_:
        taken = await all_.generate(prefer="respond-async")
        await all_.landed(taken.json()["id"])
        record = await all_.gateway.record(taken.headers["x-request-id"])
        assert (taken.status_code, record["result"]["status"], record["result"]["told_status"]) == (202, 200, 202)
        assert "told_code" not in record["result"]
