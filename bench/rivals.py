"""Who is measured side by side: Waybill with everything on, LiteLLM, Portkey, nginx; how each is built and started.

What is not installed is built below ``.bench/`` from the package registries, once: LiteLLM in an environment of its
own, Portkey by npm. nginx is the system's. Portkey needs a shim on Node 20, whose fetch answers have immutable headers.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.process import ROOT

CACHE: Final = ROOT / ".bench"
KINDS: Final = ("small", "img3", "img20", "slow", "sse")
LITELLM: Final = "1.106.2"
PORTKEY: Final = "1.15.2"
READY_S: Final = 90.0

SHIM: Final = """\
const fetched = globalThis.fetch;
globalThis.fetch = async (...given) => {
  const answer = await fetched(...given);
  return new Response(answer.body, { status: answer.status, headers: new Headers(answer.headers) });
};
"""
NGINX: Final = """\
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000; client_body_temp_path {work}/bodies;
  proxy_temp_path {work}/proxied; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  upstream canned {{ server 127.0.0.1:{upstream}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://canned; proxy_http_version 1.1; proxy_set_header connection ""; proxy_read_timeout 300s;
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
CHANNEL: Final = """\
  {kind}:
    owner: canned
    kind: direct
    api: openai
    base_url: http://127.0.0.1:{upstream}/{kind}/v1
    api_key: sk-canned
    max_in_flight: 20000
    rows:
      {kind}: {{serves: [images/generations, images/edits], contract: open, price: {{unit: per_image, amount: 0.04}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a rival runs: its directory, the port it shall listen on, the upstream's port."""

    work: Path
    port: int
    upstream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a process is started."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    key: str = "sk-bench"  # what its clients show


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One of those that are measured. ``path`` and ``headers`` say how it is asked for a kind of answer."""

    name: str
    version: str
    start: Callable[[Place], Start]
    path: Callable[[str], str]
    headers: Callable[[str, int], Mapping[str, str]]
    model: Callable[[str], str] = str


def waybill() -> Rival:
    """Waybill as users start it: a key, the ledger, the store for pictures, records, metrics."""
    return Rival(name="waybill", version="this", start=_waybill, path=_same, headers=_nothing)


def litellm() -> Rival:
    """LiteLLM's proxy with a master key; it books nothing, for it has no database here."""
    program = CACHE / "litellm" / "bin" / "litellm"
    if not program.exists():
        _say(f"installing LiteLLM {LITELLM}")
        _run(sys.executable, "-m", "venv", str(CACHE / "litellm"))
        _run(str(program.parent / "pip"), "install", "-q", "--upgrade", "pip")
        _run(str(program.parent / "pip"), "install", "-q", f"litellm[proxy]=={LITELLM}")
    return Rival(name="litellm", version=LITELLM, start=_litellm, path=_same, headers=_nothing)


def portkey() -> Rival:
    """Portkey's gateway, told by headers where to go."""
    if not (CACHE / "portkey" / "node_modules").is_dir():
        _say(f"installing Portkey {PORTKEY}")
        (CACHE / "portkey").mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE / "portkey"),
             f"@portkey-ai/gateway@{PORTKEY}")  # fmt: skip
    return Rival(name="portkey", version=PORTKEY, start=_portkey, path=_same, headers=_portkey_headers)


def nginx() -> Rival | None:
    """Nginx as a proxy that does not buffer, one worker; absent where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        return None
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return Rival(name="nginx", version=said.rpartition("/")[2].strip(), start=_nginx, path=_by_path, headers=_nothing)


def direct() -> Rival:
    """Nobody in between: what client and upstream can do."""
    return Rival(name="direct", version="", start=_no_start, path=_by_path, headers=_nothing)


def _same(_kind: str) -> str:
    return "/v1"


def _by_path(kind: str) -> str:
    return f"/{kind}/v1"


def _nothing(_kind: str, _upstream: int) -> Mapping[str, str]:
    return {}


def _portkey_headers(kind: str, upstream: int) -> Mapping[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/{kind}/v1"}


def _no_start(_place: Place) -> Start:
    raise RuntimeError("there is nothing to start")


def _waybill(place: Place) -> Start:
    return waybill_of(place, KINDS)


def waybill_of(place: Place, kinds: Sequence[str], *, idle_routes: int = 0, spare: int = 0) -> Start:
    """Give how it is started with these kinds of answer.

    ``idle_routes``: routes more that nobody asks for; ``spare``: channels more for each kind, to fall back to.
    """
    channels = routes = ""
    for kind in kinds:
        names = [kind, *(f"{kind}-{number}" for number in range(spare))]
        one = CHANNEL.format(kind=kind, upstream=place.upstream)
        channels += "".join(one.replace(f"  {kind}:\n", f"  {name}:\n", 1) for name in names)
        routes += f"  {kind}: {{targets: [{', '.join(names)}]}}\n"
    idle = f"{{targets: [{{channel: {kinds[0]}, row: {kinds[0]}}}]}}"
    routes += "".join(f"  idle-{number}: {idle}\n" for number in range(idle_routes))
    text = f"version: 1\nserver: {{stream_hold: 0s}}\nchannels:\n{channels}routes:\n{routes}"
    (place.work / "routes.yaml").write_text(text, "utf-8")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(place.work)}
    program = (sys.executable, "-m", "gateway")
    where = ("--config", str(place.work / "routes.yaml"), "--data-dir", str(place.work / "data"))
    made = subprocess.run(
        [*program, "keys", "create", "--name", "bench", *where, "--json"],
        env=environment, cwd=place.work, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Start(
        argv=(*program, "serve", "--port", str(place.port), *where),
        env=environment,
        key=str(json.loads(made.stdout)["key"]),
    )


def _litellm(place: Place) -> Start:
    models = [
        {
            "model_name": kind,
            "litellm_params": {
                "model": "openai/gpt-image-1",
                "api_base": f"http://127.0.0.1:{place.upstream}/{kind}/v1",
                "api_key": "sk-canned",
            },
        }
        for kind in KINDS
    ]
    document = {"model_list": models, "general_settings": {"master_key": "sk-bench"}}
    (place.work / "config.yaml").write_text(json.dumps(document), "utf-8")  # JSON is YAML
    return Start(
        argv=(str(CACHE / "litellm" / "bin" / "litellm"), "--config", str(place.work / "config.yaml"),
              "--host", "127.0.0.1", "--port", str(place.port)),
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
    )  # fmt: skip


def _portkey(place: Place) -> Start:
    shim = place.work / "shim.mjs"
    shim.write_text(SHIM, "utf-8")
    program = CACHE / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Start(
        argv=("node", "--import", str(shim), str(program), "--headless", f"--port={place.port}"), env=dict(os.environ)
    )


def _nginx(place: Place) -> Start:
    conf = place.work / "nginx.conf"
    conf.write_text(NGINX.format(work=place.work, port=place.port, upstream=place.upstream), "utf-8")
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    return Start(argv=(program, "-p", str(place.work), "-c", str(conf)), env=dict(os.environ))


@contextmanager
def running(rival: Rival, work: Path, upstream: int) -> Iterator[tuple[int, int, Start]]:
    """Start a rival and wait until it listens; gives its process id, its port, and how it was started."""
    place = Place(work=work, port=_free_port(), upstream=upstream)
    start = rival.start(place)
    with (
        (work / "out.txt").open("wb") as out,
        subprocess.Popen(start.argv, env=start.env, cwd=work, stdout=out, stderr=out) as process,
    ):
        try:
            _wait(process, place)
            yield process.pid, place.port, start
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], place: Place) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", place.port)) == 0:
                return
        time.sleep(0.1)
    said = re.sub(r"\s+", " ", (place.work / "out.txt").read_text("utf-8", "replace"))[-2_000:]
    raise RuntimeError(f"{process.args!r} did not start: {said}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
