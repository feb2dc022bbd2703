"""Starts the server's process: bind, read the routes file, wire, say what is ready, serve until told to stop.

Standard output carries JSON lines only, the first of them ``server.ready``; the banner for people goes to standard
error. Exit codes: 0 after a clean stop, 1 when the address or the ledger cannot be had, 2 for a bad routes file or an
option that this version refuses.
"""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from gateway import __version__, allocator
from gateway.clock import SystemClock
from gateway.config import Loaded, find_routes, load
from gateway.config.served import forget_served, note_served
from gateway.core.netguard import is_loopback
from gateway.core.record import timestamp
from gateway.core.retirement import retiring
from gateway.core.table import ObjectStore, Secret
from gateway.main import Operator, build
from gateway.ports import LedgerUnavailable
from gateway.reload import Read
from gateway.running import Gateway
from gateway.stores.keys_sql import KeyCount, count_keys
from gateway.stores.refusals import LedgerRefused
from gateway.web.server import Drain, build_server, new_event_loop
from gateway.workers import run_workers

EXIT_UNAVAILABLE = 1
EVERYWHERE: Mapping[str, str] = MappingProxyType({"0.0.0.0": "127.0.0.1", "::": "::1"})  # all addresses: one of them
GC_YOUNG_OBJECTS = 20_000
EXIT_REFUSED = 2
UNSHARED = (
    "waybill: --workers above 1 needs stores that processes can share: storage.database postgresql://…, "
    "storage.shared redis://… and storage.assets s3://…"
)


class ServeOptions(Struct, frozen=True, kw_only=True):
    """What ``waybill serve`` was told; ``env`` is the process's environment.

    ``lead_s``: how long connections are still taken once readiness is off; ``grace_s``: how long what has begun may
    take from then on.
    """

    host: str
    port: int
    config: Path | None
    data_dir: Path
    sandbox: bool
    env: Mapping[str, str]
    admin_key: Secret | None
    lead_s: float
    grace_s: float
    workers: int = 1


def serve(options: ServeOptions) -> int:
    """Run the server until a signal ends it; gives the exit code."""
    read = _reader(options)
    loaded = read()
    if isinstance(loaded, list):
        for mistake in loaded:
            _say(str(mistake))
        return EXIT_REFUSED
    if options.workers > 1 and not _is_shareable(loaded):
        _say(UNSHARED)
        return EXIT_REFUSED
    if not is_loopback(options.host) and not _keys(loaded).good:
        _say(
            f"waybill: will not bind {options.host}: an address that others can reach needs keys. "
            "Make one first: waybill keys create --name NAME"
        )
        return EXIT_REFUSED
    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        _say(f"waybill: cannot listen on {options.host}:{options.port}: {error.strerror or error}")
        return EXIT_UNAVAILABLE
    with listener:
        operator = Operator(read=read, key=options.admin_key, is_local=is_loopback(options.host))
        if options.workers == 1:
            return _serve(loaded, operator, options, listener)
        return run_workers(
            options.workers, lambda number: _serve(loaded, replace(operator, worker=number), options, listener)
        )


def _is_shareable(loaded: Loaded) -> bool:
    """Whether every store is one that several processes can share."""
    settings = loaded.settings
    is_server = not settings.database.startswith("sqlite:")
    return is_server and bool(settings.shared) and isinstance(settings.assets.store, ObjectStore)


def _keys(loaded: Loaded) -> KeyCount:
    """Count the keys; a ledger that is not there yet, or cannot be read, has none."""
    try:
        return count_keys(loaded.settings.database, SystemClock().now())
    except (LedgerRefused, LedgerUnavailable):
        return KeyCount(made=0, good=0)


def _reader(options: ServeOptions) -> Read:
    """Give what reads the routes file, now and whenever it is read again: the same file, in the same environment."""
    path = find_routes(options.config)
    return lambda: load(
        path,
        env=options.env,
        data_dir=options.data_dir,
        sandbox_allowed=options.sandbox or is_loopback(options.host),
    )


def _serve(loaded: Loaded, operator: Operator, options: ServeOptions, listener: socket.socket) -> int:
    try:
        gateway = build(loaded, options.data_dir, sys.stdout.buffer, operator=operator)
    except LedgerRefused as refused:
        _say(f"waybill: {refused}")
        return EXIT_UNAVAILABLE
    except OSError as error:
        _say(f"waybill: cannot use the data directory {options.data_dir}: {error.strerror or error}")
        return EXIT_UNAVAILABLE
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop listens to it: it must not end the process
    url = _url(listener)
    if operator.worker <= 1:
        _banner(gateway, options, url)
    _settle_memory()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_run(gateway, options, listener, url))


async def _run(gateway: Gateway, options: ServeOptions, listener: socket.socket, url: str) -> int:
    await gateway.start()

    def ready() -> None:
        note_served(options.data_dir, url)
        gateway.events.emit(
            {
                "event": "server.ready",
                "time": timestamp(SystemClock().now()),
                "url": url,
                "version": __version__,
                "config_version": gateway.loaded.table.version,
                "interrupted_requests": gateway.interrupted,
                "client_window_s": gateway.airport.flights.window_s,
            }
        )
        for notice in gateway.notices:
            gateway.events.emit(notice)

    def leave() -> None:
        gateway.leave()
        left = waited_for(gateway.load.in_flight, gateway.airport.flights.register.unattended)
        if left:
            most_s = options.lead_s + options.grace_s
            _say(f"waybill: told to end; waits for {left}, {most_s:g} s at most. Tell it again to cut that short.")

    async def cut() -> None:
        _say("waybill: the time to end is over; cuts what is left, which may have been charged for")
        await gateway.cut()

    drain = Drain(
        lead_s=options.lead_s,
        grace_s=options.grace_s,
        begin=leave,
        cut=cut,
        aloft=lambda: gateway.airport.flights.aloft,
    )
    server = build_server(gateway.app, on_ready=ready, drain=drain)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.config.nudge)
    watching = asyncio.ensure_future(gateway.config.watch())
    try:
        await server.serve(sockets=[listener])
    finally:
        forget_served(options.data_dir)
        watching.cancel()
        unwritten = await gateway.stop()
    return EXIT_UNAVAILABLE if unwritten else 0


def _settle_memory() -> None:
    """Keep the collector from looking through what start-up made, and let it look less often.

    A request makes a few hundred objects and hardly any cycle; with the interpreter's own thresholds every second
    request would start a collection over all of them.
    """
    allocator.settle()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS)


def bind(host: str, port: int) -> socket.socket:
    """Take an address; port 0 takes a free one. Raises ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.set_inheritable(False)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    """Give an address to reach it by; of all addresses, the one that this machine has for itself."""
    host, port = listener.getsockname()[:2]
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _banner(gateway: Gateway, options: ServeOptions, url: str) -> None:
    loaded = gateway.loaded
    _say(f"Waybill {__version__}")
    _say(f"  API       {url}/v1")
    if options.host in EVERYWHERE:
        _say("            listens on every address of this machine: from elsewhere, put its name or address there")
    _say(f"  config    {loaded.path} ({loaded.table.version})")
    _say(f"  data      {options.data_dir.absolute()}")
    if options.admin_key is None and is_loopback(options.host):
        _say("  operator  this machine, without a key: set WAYBILL_ADMIN_KEY when a proxy forwards to this address")
    elif options.admin_key is None:
        _say("  operator  nobody but keys with the scope admin: WAYBILL_ADMIN_KEY is not set")
    _say(f"  keys      {_keys_line(_keys(loaded))}")
    for line in channel_lines(loaded):
        _say(f"  channel   {line}")
    for line in sleeping_routes(loaded):
        _say(f"  route     {line}")
    for row in retiring(loaded.table, SystemClock().now().date()):
        _say(f"  model     {row.sentence}")
    for warning in loaded.warnings:
        _say(f"  warning   {warning}")
    if gateway.interrupted:
        _say(f"  ledger    {gateway.interrupted} request(s) of an earlier run were interrupted; see `waybill logs`")


def waited_for(requests: int, unattended: int) -> str:
    """Say what a server that ends waits for: ``unattended`` flights are those that no client waits for any more."""
    found = [_counted(requests, "request")] if requests else []
    if unattended:
        found.append(
            f"{_counted(unattended, 'flight')} whose {'client has' if unattended == 1 else 'clients have'} left"
        )
    return " and ".join(found)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _keys_line(found: KeyCount) -> str:
    if not found.made:
        return "none: open to this machine until `waybill keys create` makes the first"
    return f"every call needs one; {found.good} of {found.made} are good"


def channel_lines(loaded: Loaded) -> list[str]:
    """Say of every channel whether it is ready, and if not, why."""
    used = {target.channel for route in loaded.table.routes.values() for target in route.targets}
    awake = {
        target.channel for route in loaded.table.routes.values() for target in route.targets if not target.unusable
    }
    lines = []
    for channel in loaded.table.channels.values():
        if channel.unready:
            state = f"not ready: {channel.unready}"
        elif channel.name not in used:
            state = "ready, but no route uses it"
        elif channel.name not in awake:
            state = "asleep: the sandbox answers only where no other target has credentials"
        else:
            state = "ready"
        lines.append(f"{channel.name}  {state}")
    return lines


def sleeping_routes(loaded: Loaded) -> list[str]:
    """Say which routes no target can serve as things stand."""
    return [
        f"{route.name}  no target is ready: requests get 503 no_healthy_target"
        for route in loaded.table.routes.values()
        if all(target.unusable for target in route.targets)
    ]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


__all__ = ["EXIT_REFUSED", "EXIT_UNAVAILABLE", "ServeOptions", "bind", "channel_lines", "serve", "waited_for"]
