from datetime import date

from msgspec.structs import replace

from gateway.core.retirement import retiring
from tests.core.contract_cases import contract
from tests.core.tables import channel, row, table


def test_rows_near_their_last_day_are_told_of_in_the_files_order() -> None:
    rows = [replace(row(name), contract=contract(name)) for name in ("gpt-image-1.5", "gpt-image-2")]
    whole = table([channel("a", rows)], [])
    assert retiring(whole, date(2026, 9, 1)) == []
    (soon,) = retiring(whole, date(2026, 11, 21))
    assert soon.sentence == "a/gpt-image-1.5  the model gpt-image-1.5 will be retired on 2026-12-01"
    (over,) = retiring(whole, date(2026, 12, 1))
    assert over.sentence == "a/gpt-image-1.5  the model gpt-image-1.5 answers no more since 2026-12-01"
