"""What a request that is only checked is answered: the forecast as JSON, with the stamps of every answer."""

import orjson

from gateway.inspection import Checked
from gateway.web.answer import Answer
from gateway.web.stamps import stamps


def checked_answer(checked: Checked) -> Answer:
    """Write a forecast; it is an answer, whatever it says."""
    return Answer(status=200, body=orjson.dumps(checked.document), headers=tuple(stamps(checked.record)))
