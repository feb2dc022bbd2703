"""``explain``: the plan in order, and why each other target is out."""

import asyncio
import json

from tests.cli.program import ROUTES, Program, Ran
from tests.fakes.gateway import running_gateway

KEYS = {"OPENAI_API_KEY": "sk-1", "LAOZHANG_API_KEY": "sk-2"}


def test_the_plan_in_order(program: Program) -> None:
    ran = program.run("explain", "--model", "gpt-image-2", **KEYS)
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "1 openai/gpt-image-2 openai direct gpt-image-2-2026-04-21 580 s unknown" in lines
    assert "2 laozhang/gpt-image-2 laozhang.ai gateway gpt-image-2 580 s 0.03 USD" in lines
    assert any(line.startswith("sandbox/gpt-image-2 asleep") for line in lines)


def test_excluded_targets_have_reasons(program: Program) -> None:
    ran = program.run("explain", "--model", "gpt-image-2", "--endpoint", "images/edits", "--json", **KEYS)
    document = json.loads(ran.out)
    assert [target["channel"] for target in document["targets"]] == ["openai"]
    assert {item["target"]: item["reason"] for item in document["excluded"]} == {
        "laozhang/gpt-image-2": "surface_not_served",
        "sandbox/gpt-image-2": "sandbox_asleep",
    }


def test_a_body_shapes_the_plan(program: Program) -> None:
    body = {"model": "gpt-image-2", "prompt": "a fox", "size": "3840x2160", "quality": "low"}
    (program.directory / "body.json").write_text(json.dumps(body))
    heavy = json.loads(program.run("explain", "--body", "body.json", "--json", **KEYS).out)
    light = json.loads(
        program.run("explain", "--body", "-", "--json", stdin=json.dumps(body | {"size": "1024x1024"}), **KEYS).out
    )
    assert [plan["targets"][0]["patience_s"] for plan in (heavy, light)] == [580, 180]
    assert json.loads(program.run("explain", "--body", "body.json", "--model", "nobody", "--json").out)["error"] == {
        "status": 404,
        "code": "model_not_found",
        "message": "The model `nobody` does not exist or you do not have access to it.",
        "param": "model",
    }


def test_rules_policies_limits_and_substitutes_are_told(program: Program) -> None:
    routes = ROUTES.replace("kind: gateway", "kind: gateway\n    limits: {rpm: 30}").replace(
        "{targets: [openai, laozhang, sandbox], default_for: [images/generations]}",
        "{targets: [{channel: laozhang, substitute: true}, openai, sandbox], policy: fastest,"
        " when: [{if: {quality: low}, use: [laozhang]}, {if: {n: 1}, use: [laozhang, openai]}]}",
    )
    (program.directory / "routes.yaml").write_text(routes)
    ran = program.run("explain", "--model", "gpt-image-2", **KEYS)
    assert "Rule 2 of the route applies to this request." in ran.out
    assert "Order: by how long they lately took, shown as written." in ran.out
    assert "substitute: another model, asked last; 30 requests a minute, 64 at once" in " ".join(ran.out.split())
    assert "add --live to ask it" in ran.out
    document = json.loads(program.run("explain", "--model", "gpt-image-2", "--json", **KEYS).out)
    assert (document["policy"], document["rule"], document["health"]) == ("fastest", 1, None)
    told = [(one["channel"], one["substitute"], one["rpm"]) for one in document["targets"]]
    assert told == [("openai", False, None), ("laozhang", True, 30)]
    assert document["excluded"][0] == {"target": "sandbox/gpt-image-2", "reason": "ruled_out"}


BOUND = (
    ROUTES.replace("2026-04-21, serves", "2026-04-21, price: openai/gpt-image-2, serves")
    .replace("amount: 0.03}}", "amount: 0.03}, require: verified}")
    .replace(
        "default_for: [images/generations]}",
        "policy: cheapest, max_cost: 0.3USD, downgrade: [{on: timeout, set: {quality: medium}}]}",
    )
)


def test_what_a_request_may_cost_and_what_bounds_it_are_told(program: Program) -> None:
    (program.directory / "routes.yaml").write_text(BOUND)
    body = json.dumps({"model": "gpt-image-2", "prompt": "a fox", "size": "1024x1024", "quality": "high"})
    ran = program.run("explain", "--body", "-", stdin=body, **KEYS)
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "Order: by what the request may cost there at most." in lines
    assert "At most 0.3 USD." in lines
    assert "After timeout: quality medium." in lines
    assert "All attempts together may cost: 0.3 USD." in lines
    assert any(line.endswith("580 s 0.21073 USD") for line in lines)
    assert "laozhang/gpt-image-2 no smoke run of it has passed on this surface" in lines
    document = json.loads(program.run("explain", "--body", "-", "--json", stdin=body, **KEYS).out)
    assert (document["max_cost"], document["worst_case"]["amount_micro"]) == ("0.300000 USD", 300_000)
    assert document["targets"][0]["worst_case"]["amount_micro"] == 210_730
    dear = program.run("explain", "--body", "-", stdin=body.replace("1024x1024", "3840x2160"), **KEYS)
    assert dear.code == 1
    assert "for at most 0.300000 USD: the cheapest, openai/gpt-image-2, may take" in " ".join(dear.out.split())


def test_the_default_route_without_a_model(program: Program) -> None:
    assert json.loads(program.run("explain", "--json", **KEYS).out)["route"] == "gpt-image-2"


def test_a_refusal_is_1(program: Program) -> None:
    ran = program.run("explain", "--model", "gpt-image-2", "--endpoint", "responses")
    assert ran.code == 1
    assert ran.out.startswith("Refused: 400 image_model_not_allowed\n")
    unready = program.run("explain", "--model", "gpt-5.5", "--endpoint", "responses")
    assert unready.code == 1
    assert "503 no_healthy_target" in unready.out
    assert "OPENAI_API_KEY is not set" in unready.out


def test_bad_bodies(program: Program) -> None:
    ran = program.run("explain", "--body", "-", stdin='{"prompt": ')
    assert ran.code == 1
    assert "400 invalid_json" in ran.out
    missing = program.run("explain", "--body", "nowhere.json")
    assert (missing.code, missing.err) == (2, "waybill: cannot read nowhere.json: No such file or directory\n")


def test_contracts_have_their_say(program: Program) -> None:
    body = {"model": "gpt-image-2", "prompt": "a fox", "quality": "hd", "size": "1792x936"}
    refused = program.run("explain", "--body", "-", stdin=json.dumps(body), **KEYS)
    assert refused.code == 1
    assert "Invalid size '1792x936'. Width and height must both be divisible by 16." in refused.out
    assert "its contract forbids what the request says of size" in " ".join(refused.out.split())
    good = program.run("explain", "--body", "-", "--json", stdin=json.dumps(body | {"size": "1792x1024"}), **KEYS)
    first = json.loads(good.out)["targets"][0]
    assert (first["contract"], first["changes"], first["contract_doubt"]) == (
        "gpt-image-2",
        ["translated:quality"],
        False,
    )
    shown = program.run("explain", "--body", "-", stdin=json.dumps(body | {"size": "1792x1024"}), **KEYS)
    assert "translated:quality" in shown.out


def test_what_every_request_has_may_be_left_out_of_a_body(program: Program) -> None:
    for endpoint, said in (
        ("images/generations", "no prompt"),
        ("images/edits", "no prompt and no images"),
        ("responses", "no input"),
    ):
        model = "gpt-5.5" if endpoint == "responses" else "gpt-image-2"
        wanted = ("explain", "--model", model, "--endpoint", endpoint, "--body", "-")
        ran = program.run(*wanted, stdin='{"size": "1024x1024"}', **KEYS)
        assert ran.code == 0, ran.out
        assert ran.err == f"waybill: the body has {said}: the plan is made as if it had\n"
        assert f"on {endpoint}: at most " in ran.out
    wrong = program.run("explain", "--body", "-", stdin='{"prompt": 7}', **KEYS)
    assert (wrong.code, wrong.err) == (1, "")
    assert "400 invalid_type" in wrong.out


LIVE = ROUTES.replace("https://api.openai.com/v1", "http://127.0.0.1:9").replace("${OPENAI_API_KEY}", "sk-1")


async def test_live_it_is_the_gateway_that_plans(program: Program) -> None:
    """The file here has no keys, and the gateway has: what it would do is what counts, and what it says."""
    async with running_gateway(LIVE, program.directory / "gateway") as gateway:

        async def run(*arguments: str, **env: str) -> Ran:
            return await asyncio.to_thread(program.run, *arguments, WAYBILL_URL=gateway.url, **env)

        here = await run("explain", "--model", "gpt-5.5", "--endpoint", "responses")
        assert (here.code, "503 no_healthy_target" in here.out) == (1, True)
        wanted = ("explain", "--live", "--model", "gpt-5.5", "--endpoint", "responses")
        there = await run(*wanted)
        assert (there.code, there.err) == (0, "")
        assert "at most 1 of 1 target" in there.out
        assert "well" in there.out
        assert "add --live" not in there.out
        document = json.loads((await run(*wanted, "--json")).out)
        assert (document["targets"][0]["channel"], document["health"]) == ("openai", {"openai/gpt-5.5": "well"})

        assert (await run("channels", "drain", "openai", "--reason", "new key")).code == 0
        drained = await run(*wanted, COLUMNS="80")
        assert (drained.code, drained.err) == (1, "")
        assert "Refused: 503 no_healthy_target" in drained.out
        assert "an operator drained its channel" in drained.out
        assert "new key" in drained.out
        refused = json.loads((await run(*wanted, "--json")).out)
        assert refused["error"]["status"] == 503
        assert (await run("channels", "on", "openai")).code == 0

        body = '{"size": "1792x936", "model": "gpt-image-2"}'
        forbidden = await asyncio.to_thread(
            program.run, "explain", "--live", "--body", "-", stdin=body, WAYBILL_URL=gateway.url
        )
        assert forbidden.code == 1
        assert "Invalid size '1792x936'" in forbidden.out
        broken = await asyncio.to_thread(
            program.run, "explain", "--live", "--body", "-", stdin="[", WAYBILL_URL=gateway.url
        )
        assert (broken.code, "400 invalid_json" in broken.out) == (1, True)

        other = await run("explain", "--live", "--config", "routes.yaml")
        assert "runs another routes file, or version of it, than routes.yaml" in other.err
        same = await run("explain", "--live", "--config", str(program.directory / "gateway" / "routes.yaml"))
        assert (same.code, same.err) == (0, "")
        both = await run("explain", "--live", "--sandbox")
        assert (both.code, both.out) == (2, "")


def test_a_gateway_that_is_not_there_plans_nothing(program: Program) -> None:
    ran = program.run("explain", "--live", "--url", "http://127.0.0.1:9", **KEYS)
    assert (ran.code, ran.out) == (1, "")
    assert "cannot be reached" in ran.err
