"""A request as JSON: the body is kept, hashed and scanned in one pass, then understood."""

import hashlib

from gateway.bodies.spool import SpooledBody
from gateway.core.errand import Errand
from gateway.core.fields import Fields, wrong_type
from gateway.core.jsonbody import JsonFault, RequestScan
from gateway.core.types import BodyMap, Refusal, Surface
from gateway.intake.content_type import BodyKind
from gateway.intake.facts import Asked, Pictures, Privacy, read_images, read_pictures
from gateway.intake.incoming import SLICE
from gateway.intake.turn import read_turn


class JsonSink:
    """Keeps a JSON body as it came and scans it as it passes."""

    slice = SLICE

    def __init__(
        self, kind: BodyKind, body: SpooledBody, errand: Errand = Errand.CREATE, *, is_check: bool = False
    ) -> None:
        self._kind = kind
        self._body = body
        self._errand = errand
        self._is_check = is_check
        self._scan = RequestScan()
        self._digest = hashlib.sha256(b"json")

    @property
    def is_slow(self) -> bool:
        """Whether it is large: hundreds of thousands of values take longer to read than anybody should wait for."""
        return self._body.length > SLICE

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes. Raises ``SpoolFull``."""
        self._body.append(piece)
        self._digest.update(piece)
        fault = self._scan.feed(piece)
        return None if fault is None else _refusal(fault)

    def understand(self, surface: Surface, privacy: Privacy) -> tuple[Asked, BodyMap] | Refusal:
        """Say what the whole body asks, and where its models stand."""
        found = self._scan.finish()
        if isinstance(found, JsonFault):
            return _refusal(found)
        fields = Fields(found.document)
        if found.model is None and "model" in found.document:
            fields.refuse(wrong_type("model", "a string", found.document["model"]))
        if self._is_check and "images" not in found.document:
            surface = Surface.GENERATIONS
        if surface is Surface.RESPONSES:
            asked = read_turn(fields, found.picture, privacy, self._errand)
        else:
            pictures = read_pictures(fields, found.picture) if surface is Surface.EDITS else Pictures()
            asked = read_images(surface, fields, pictures, privacy)
        if isinstance(asked, Refusal):
            return fields.named(asked)
        body_map = BodyMap(
            content_type=self._kind.content_type,
            length=self._body.length,
            model=found.model,
            insert_at=found.insert_at,
            tool_models=found.tool_models,
            fields=found.fields,
            digest=self._digest.hexdigest(),
        )
        return asked, body_map


def _refusal(fault: JsonFault) -> Refusal:
    return Refusal(status=400, code="invalid_json", message=fault.message, param=fault.param)
