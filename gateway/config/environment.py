"""The ``WAYBILL_*`` environment, read once for the command line.

``current`` is the one place, beside the launcher, that looks at the process's environment; everyone else is given a
mapping. A variable set to the empty string counts as unset. ``WAYBILL_API_KEY_FILE`` names a file that holds the key.
An empty file of ``WAYBILL_ADMIN_KEY_FILE`` is a mistake: it would leave a door open that was meant to be locked.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from gateway.config.mistake import Mistake
from gateway.config.units import http_url, stretch
from gateway.config.variables import Variables
from gateway.core.table import Secret

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """What the environment says, else the defaults; a command's flags stand above these.

    ``config``: the routes file asked for; ``None`` leaves it to ``find_routes``. ``url`` and ``api_key`` are for
    commands that talk to a running gateway. ``admin_key`` is the operator's. ``lead_s`` and ``grace_s``: how a server
    ends (``launcher.ServeOptions``).
    """

    host: str = "127.0.0.1"
    port: int = 8484
    data_dir: Path = Path("data")
    config: Path | None = None
    url: str = "http://127.0.0.1:8484"
    api_key: Secret | None = None
    admin_key: Secret | None = None
    sandbox: bool = False
    lead_s: float = 0.0
    grace_s: float = 600.0  # a little more than the longest a request may take by default


def current() -> Mapping[str, str]:
    """Give the process's environment as it is now."""
    return dict(os.environ)


def settings_env(env: Mapping[str, str]) -> ProcessSettings | list[Mistake]:
    """Read the ``WAYBILL_*`` variables; all mistakes at once, none repeating a variable's content."""
    reader = _Reader(variables=Variables(env=env))
    default = ProcessSettings()
    settings = ProcessSettings(
        host=reader.variables.get("WAYBILL_HOST") or default.host,
        port=reader.port("WAYBILL_PORT", default.port),
        data_dir=Path(reader.variables.get("WAYBILL_DATA_DIR") or default.data_dir),
        config=reader.path("WAYBILL_CONFIG"),
        url=reader.url("WAYBILL_URL", default.url),
        api_key=reader.secret("WAYBILL_API_KEY"),
        admin_key=reader.lock("WAYBILL_ADMIN_KEY"),
        sandbox=reader.flag("WAYBILL_SANDBOX"),
        lead_s=reader.stretch("WAYBILL_LEAD", default.lead_s),
        grace_s=reader.stretch("WAYBILL_GRACE", default.grace_s),
    )
    return reader.mistakes or settings


class _Reader(Struct, kw_only=True):
    variables: Variables
    mistakes: list[Mistake] = field(default_factory=list)

    def path(self, name: str) -> Path | None:
        text = self.variables.get(name)
        return None if text is None else Path(text)

    def port(self, name: str, default: int) -> int:
        text = self.variables.get(name)
        # Kubernetes sets NAME_PORT=tcp://10.0.0.1:8484 for every service NAME: that is not meant for us.
        if text is None or text.startswith("tcp://"):
            return default
        if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535:
            return int(text)
        self._wrong(name, "must be a port number, 0 to 65535")
        return default

    def url(self, name: str, default: str) -> str:
        try:
            return http_url(self.variables.get(name) or default)
        except ValueError as error:
            self._wrong(name, str(error))
            return default

    def secret(self, name: str) -> Secret | None:
        try:
            text = self.variables.secret(name)
        except ValueError as error:
            self._wrong(f"{name}_FILE", str(error))
            return None
        return None if text is None else Secret(text)

    def lock(self, name: str) -> Secret | None:
        found = self.secret(name)
        if found is None and not self.mistakes and self.variables.get(f"{name}_FILE") is not None:
            self._wrong(f"{name}_FILE", "the file that it names is empty")
        return found

    def stretch(self, name: str, default: float) -> float:
        text = self.variables.get(name)
        try:
            return default if text is None else stretch(text)
        except ValueError as error:
            self._wrong(name, str(error))
            return default

    def flag(self, name: str) -> bool:
        text = (self.variables.get(name) or "0").lower()
        if text not in _TRUE | _FALSE:
            self._wrong(name, "must be 1 or 0")
        return text in _TRUE

    def _wrong(self, name: str, message: str) -> None:
        self.mistakes.append(Mistake(file="environment", line=0, column=0, path=name, message=message))
