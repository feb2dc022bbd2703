"""OpenAI's own description drives requests at the three surfaces: no 5xx of ours, no answer of a wrong shape."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode

import gateway
from tests.fakes.server import server_process

DESCRIPTION = json.loads((Path(__file__).parent / "openai.json").read_text("utf-8"))
SHIPPED = Path(gateway.__file__).parent / "catalog" / "routes.yaml"
MODELS = {"/images/generations": "gpt-image-2", "/images/edits": "gpt-image-2", "/responses": "gpt-5.5"}
EXAMPLES = 40


def check(path: str, answer: httpx2.Response) -> None:
    """Hold an answer to the shape the SDKs read."""
    said = answer.text[:500]
    assert answer.status_code < 500, said
    assert answer.headers["x-request-id"].startswith("req_")
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert {"message", "type", "param", "code"} <= set(error), said
        assert answer.headers["x-should-retry"] in {"true", "false"}
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.count("\n\n") >= 1, said
    elif path == "/responses":
        assert answer.json()["object"] == "response", said
    else:
        assert all(item.get("b64_json") or item.get("url") for item in answer.json()["data"]), said


def send(client: httpx2.Client, url: str, path: str, body: object, media_type: str) -> httpx2.Response:
    if media_type == "multipart/form-data" and isinstance(body, dict):
        files = [(name, ("blob", value)) for name, value in body.items() if isinstance(value, bytes)]
        fields: dict[str, Any] = {name: str(value) for name, value in body.items() if not isinstance(value, bytes)}
        return client.post(f"{url}/v1{path}", data=fields, files=files or {"image": ("blob", b"x")})
    content = json.dumps(body, default=str).encode("utf-8", "replace")
    return client.post(f"{url}/v1{path}", content=content, headers={"content-type": "application/json"})


def drive(url: str, path: str, mode: GenerationMode) -> int:
    """Send generated requests; half of them name a model that is served. Gives how many were sent."""
    operation = schemathesis.openapi.from_dict(DESCRIPTION)[path]["POST"]
    dice, sent = random.Random(7), 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Case[Any]) -> None:
        nonlocal sent
        body = case.body
        if isinstance(body, dict) and dice.random() < 0.5:
            body = {**body, "model": MODELS[path]}
        check(path, send(client, url, path, body, case.media_type or "application/json"))
        sent += 1

    with httpx2.Client(trust_env=False, timeout=30) as client:
        run()
    return sent


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", MODELS)
async def test_generated_requests_get_sound_answers(path: str, mode: GenerationMode, tmp_path: Path) -> None:
    async with server_process(SHIPPED.read_text("utf-8"), tmp_path) as server:
        assert await asyncio.to_thread(drive, server.url, path, mode) > EXAMPLES // 2
        log = (tmp_path / "log.jsonl").read_text("utf-8")
    assert "gateway.bug" not in log
