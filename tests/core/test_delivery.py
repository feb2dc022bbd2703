import pytest
from msgspec.structs import replace

from gateway.core.delivery import DROPPED, TRANSLATED, Deliver, Form, Shape, wanted_form
from gateway.core.legacy import Legacy
from gateway.core.terms import OPEN_CONTRACT, Contract
from gateway.core.types import Facts, Surface

KNOWN = Contract(name="known", drops=frozenset({"response_format", "style"}))
TAKES_IT = Contract(name="takes it")
LEGACY = Legacy(results={"dall-e-3": "url"})
ASKED = Facts(surface=Surface.GENERATIONS, asked_model="pic")


def form(contract: Contract = KNOWN, deliver: Deliver = Deliver.AS_ASKED, facts: Facts = ASKED) -> Form | None:
    return wanted_form(facts, contract, deliver, LEGACY)


@pytest.mark.parametrize("surface", [Surface.GENERATIONS, Surface.EDITS])
@pytest.mark.parametrize("contract", [KNOWN, TAKES_IT, OPEN_CONTRACT])
@pytest.mark.parametrize("asked", ["url", "b64_json"])
def test_what_is_asked_for_is_given(surface: Surface, contract: Contract, asked: str) -> None:
    facts = replace(ASKED, surface=surface, response_format=asked, asked_model="dall-e-3")
    assert form(contract, facts=facts) == asked


@pytest.mark.parametrize("deliver", [Deliver.URL, Deliver.B64_JSON, Deliver.BOTH])
@pytest.mark.parametrize("asked", [None, "url", "b64_json", "nonsense"])
def test_the_route_goes_first(deliver: Deliver, asked: str | None) -> None:
    assert form(OPEN_CONTRACT, deliver, replace(ASKED, response_format=asked)) == Form(deliver.value)


@pytest.mark.parametrize(
    ("contract", "model", "expected"),
    [
        (KNOWN, "pic", Form.B64_JSON),
        (KNOWN, None, Form.B64_JSON),
        (KNOWN, "dall-e-3", Form.URL),
        (TAKES_IT, "dall-e-3", Form.URL),
        (TAKES_IT, "pic", None),
        (OPEN_CONTRACT, "pic", None),
        (OPEN_CONTRACT, "dall-e-3", None),
    ],
)
def test_what_is_expected_when_nothing_is_asked_for(
    contract: Contract, model: str | None, expected: Form | None
) -> None:
    assert form(contract, facts=replace(ASKED, asked_model=model)) == expected


@pytest.mark.parametrize("facts", [replace(ASKED, stream=True), replace(ASKED, surface=Surface.RESPONSES)])
@pytest.mark.parametrize("deliver", Deliver)
def test_streams_and_turns_carry_what_they_carry(facts: Facts, deliver: Deliver) -> None:
    assert form(deliver=deliver, facts=replace(facts, response_format="url")) is None


def test_a_form_that_is_none_changes_nothing() -> None:
    assert form(facts=replace(ASKED, response_format="webp")) is None


@pytest.mark.parametrize(
    ("translated", "missed", "before", "after"),
    [
        (False, False, ("size_mismatch",), ("size_mismatch",)),
        (False, False, (DROPPED,), (DROPPED,)),
        (True, False, (DROPPED, "x"), ("x", TRANSLATED)),
        (True, False, (), (TRANSLATED,)),
        (False, True, (), (DROPPED,)),
        (False, True, ("x", DROPPED), ("x", DROPPED)),
        (True, True, (DROPPED,), (TRANSLATED, DROPPED)),
    ],
)
def test_stamps(translated: bool, missed: bool, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    assert Shape(form=Form.URL, translated=translated, missed=missed).stamped(before) == after
