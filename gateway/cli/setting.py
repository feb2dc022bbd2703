"""What a command works with: flags over ``WAYBILL_*`` over defaults, and the routes file they lead to.

A command that finds mistakes ends here, with exit code 2 and one line for each. It must never read the environment by
itself: ``gateway.config`` does, once.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gateway.cli.lines import stop, stop_for
from gateway.config import Loaded, Mistake, ProcessSettings, current, find_routes, load, settings_env
from gateway.config.served import served_at
from gateway.config.units import http_url
from gateway.core.netguard import is_loopback

API = "/v1"  # the end of what SDKs call the base URL


class Setting(Struct, frozen=True, kw_only=True):
    """The environment as it was at the start, and the settings with the flags laid over them.

    ``names_file``: the routes file was named on the command line.
    """

    env: Mapping[str, str]
    process: ProcessSettings
    names_file: bool = False

    @property
    def sandbox_allowed(self) -> bool:
        """Whether sandbox targets may wake: a loopback bind, or ``--sandbox``."""
        return self.process.sandbox or is_loopback(self.process.host)

    def read(self) -> Loaded | list[Mistake]:
        """Read the routes file that these settings lead to."""
        return load(
            find_routes(self.process.config),
            env=self.env,
            data_dir=self.process.data_dir,
            sandbox_allowed=self.sandbox_allowed,
        )

    def routes(self) -> Loaded:
        """Read the routes file, or end the command with its mistakes."""
        loaded = self.read()
        return stop_for(loaded) if isinstance(loaded, list) else loaded


def base_url(url: str | None, found: Setting) -> str:
    """Give the address of the gateway that is meant.

    In this order: ``--url``; ``WAYBILL_URL``; the server which runs on the data directory; the ``server.public_url`` of
    a routes file that ``--config`` names; the address that ``serve`` would listen on with the same environment. An
    SDK's base URL, which ends in ``/v1``, is taken too. One that is no URL ends the command.
    """
    if url is not None:
        return _checked(url)
    process, default = found.process, ProcessSettings()
    if found.env.get("WAYBILL_URL"):
        return _api_less(process.url)
    served = served_at(process.data_dir)
    if served is not None:
        return served
    public = found.routes().settings.server.public_url if found.names_file else None
    if public is not None:
        return public
    host = default.host if process.host in {"0.0.0.0", "::", "localhost"} else process.host
    return f"http://{f'[{host}]' if ':' in host else host}:{process.port}"


def _checked(url: str) -> str:
    if "@" in url:
        stop("--url must not carry credentials: the key belongs in WAYBILL_API_KEY")
    try:
        return _api_less(http_url(url))
    except ValueError as error:
        stop(f"--url {error}, such as {ProcessSettings().url}")


def _api_less(url: str) -> str:
    return url.removesuffix(API)


def setting(*, config: Path | None = None, data_dir: Path | None = None, sandbox: bool = False) -> Setting:
    """Lay the flags over the environment, or end the command with the environment's mistakes."""
    env = current()
    found = settings_env(env)
    if isinstance(found, list):
        stop_for(found)
    return Setting(
        env=env,
        names_file=config is not None,
        process=replace(
            found,
            config=config or found.config,
            data_dir=data_dir or found.data_dir,
            sandbox=sandbox or found.sandbox,
        ),
    )
