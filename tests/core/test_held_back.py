from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from gateway.core.brake import Brake, BrakeState
from gateway.core.health import Health, Mark, Trouble
from gateway.core.held_back import held_back
from gateway.core.table import Row
from gateway.core.types import Surface
from gateway.core.view import View
from tests.web.house import channel, table_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)
TABLE = table_of((channel("openai"), channel("azure", "AZURE_KEY is not set"), channel("cold")))
BARRED = Mark(is_barred=True, times=1, since=0.0, until=100.0)


def test_a_calm_world_holds_nothing_back() -> None:
    assert held_back(TABLE, View(now=1.0, wall=NOW)) == {}


def test_a_brake_is_named_while_it_holds_and_says_nothing_of_a_channel_without_credentials() -> None:
    brakes = {
        "openai": Brake(state=BrakeState.DRAINED),
        "azure": Brake(state=BrakeState.OFF),
        "cold": Brake(state=BrakeState.OFF, until=NOW + timedelta(hours=1)),
    }
    assert held_back(TABLE, View(now=1.0, wall=NOW, brakes=brakes)) == {"openai": "drained", "cold": "off"}
    later = View(now=1.0, wall=NOW + timedelta(hours=2), brakes=brakes)
    assert held_back(TABLE, later) == {"openai": "drained"}


def test_a_channel_is_held_back_when_each_of_its_rows_is() -> None:
    ejected = Health(marks={("cold", "gpt-image-2", Trouble.EJECTED): BARRED})
    assert held_back(TABLE, View(now=1.0, wall=NOW, health=ejected)) == {"cold": "ejected"}
    two = TABLE.channels["cold"]
    other = Row(name="other", model="other", serves=frozenset({Surface.RESPONSES}))
    channels = {**TABLE.channels, "cold": replace(two, rows={**two.rows, "other": other})}
    assert held_back(replace(TABLE, channels=channels), View(now=1.0, wall=NOW, health=ejected)) == {}


def test_what_bars_the_whole_channel_bars_every_row() -> None:
    empty = Health(marks={("openai", None, Trouble.QUOTA_EXHAUSTED): BARRED})
    assert held_back(TABLE, View(now=1.0, wall=NOW, health=empty)) == {"openai": "quota_exhausted"}
