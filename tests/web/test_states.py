import pytest

from gateway.core.errand import Errand
from gateway.core.types import Surface
from gateway.web.states import Wanted, wanted

TURN = Surface.RESPONSES


def about(errand: Errand, name: str) -> Wanted:
    return Wanted(surface=TURN, errand=errand, subject=name)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/images/edits", {"POST": Wanted(surface=Surface.EDITS)}),
        ("/v1/responses", {"POST": Wanted(surface=TURN)}),
        ("/v1/responses/compact", {"POST": Wanted(surface=TURN, errand=Errand.COMPACT)}),
        ("/v1/responses/input_tokens", {"POST": Wanted(surface=TURN, errand=Errand.INPUT_TOKENS)}),
        ("/v1/responses/resp_1/cancel", {"POST": about(Errand.CANCEL, "resp_1")}),
        ("/v1/responses/resp_1/input_items", {"GET": about(Errand.INPUT_ITEMS, "resp_1")}),
        ("/v1/responses/a/b/cancel", {"POST": about(Errand.CANCEL, "a/b")}),
        *(
            (f"/v1/responses/{name}", {"GET": about(Errand.RETRIEVE, name), "DELETE": about(Errand.DELETE, name)})
            for name in ("resp_1", "cancel", "input_items", "..", "a/b", "/cancel", "\ufffd", "resp_1/")
        ),
        *((path, {}) for path in ("/", "/v1", "/v1/responses/", "/v1/responses//", "/v1/responsesx", "/v1/models/x")),
    ],
)
def test_a_path_asks_for_what_it_says(path: str, found: dict[str, Wanted]) -> None:
    assert wanted(path) == found


def test_each_has_a_name_in_the_record() -> None:
    assert Wanted(surface=Surface.EDITS).endpoint == "images/edits"
    assert {about(errand, "x").endpoint for errand in Errand} == {errand.value for errand in Errand}
