"""What a Responses request asks for: its text, its pictures, its image tool; and what kept by an upstream it refers to.

Rules: what names something that an account keeps (an earlier response, an item by its id) becomes a reference, and
where it may go is decided by others. A conversation and a stored file are refused, since nobody knows whose they are.
Only what the gateway acts on is read; the rest is OpenAI's matter.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gateway.core.errand import Errand, Reference
from gateway.core.fields import Fields, bad_value, missing, unsupported, with_options, wrong_type
from gateway.core.types import (
    Facts,
    InputFacts,
    InputRole,
    JsonObject,
    JsonValue,
    Refusal,
    Surface,
    ToolFacts,
)
from gateway.intake.facts import (
    Asked,
    InlineFacts,
    Privacy,
    end_user,
    given,
    items,
    read_mask,
    unsupported_file,
)

IMAGE_TOOL = "image_generation"
IMAGE_CALL = "image_generation_call"

MAX_REFERENCES = 1_000

_NO_CONVERSATIONS = "This version of the gateway does not support conversations: use previous_response_id."
_NO_STREAM = "This endpoint answers at once and whole."
_NESTED = ("content", "output")  # where an item carries parts
_SEALED = frozenset({"reasoning", "compaction"})  # items with a part that only the account which wrote them can read


def read_turn(fields: Fields, inline: InlineFacts, privacy: Privacy, errand: Errand = Errand.CREATE) -> Asked | Refusal:
    """Understand the body of a Responses request, or of one about the tokens or the compaction of such a body."""
    facts = Facts(surface=Surface.RESPONSES, asked_model=fields.model(), errand=errand)
    facts = replace(facts, stream=fields.flag("stream"))
    if facts.stream and errand is not Errand.CREATE:
        fields.refuse(unsupported("stream", _NO_STREAM))
    facts = replace(facts, detached=fields.flag("background"))
    if fields.value("conversation") is not None:
        fields.refuse(unsupported("conversation", _NO_CONVERSATIONS))
    story = _Story(fields, inline)
    story.read(is_owed=errand is Errand.CREATE)
    facts = replace(facts, inputs=tuple(story.inputs), references=tuple(story.references))
    facts = _with_tool(facts, fields, inline)
    if facts.tool is not None and errand is not Errand.CREATE:
        facts = replace(facts, tool=replace(facts.tool, forced=False))  # nothing is drawn here
    prompt = "\n".join(story.texts)
    user = end_user(fields)
    return fields.refusal or Asked(facts=privacy.marked(facts, prompt, user), prompt=prompt)


class _Story:
    """What a turn goes on from, and its ``input``: texts, pictures and references, in order."""

    def __init__(self, fields: Fields, inline: InlineFacts) -> None:
        self._fields = fields
        self._inline = inline
        self.texts: list[str] = []
        self.inputs: list[InputFacts] = []
        self.references: list[Reference] = []

    def read(self, *, is_owed: bool) -> None:
        """Read it all; what cannot be served is refused on the fields. ``is_owed``: there must be some input."""
        before = self._fields.text("previous_response_id", longest=None)
        if before is not None:
            self.references.append(Reference(id=before, param="previous_response_id"))
        value = self._fields.value("input")
        if value is None:
            if is_owed and before is None and self._fields.value("prompt") is None:
                self._fields.refuse(missing("input"))
        elif isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, Sequence):
            for index, item in enumerate(value):
                self._item(item, f"input[{index}]")
            if len(self.references) > MAX_REFERENCES:
                self._fields.refuse(bad_value("input", f"may name at most {MAX_REFERENCES} items by their id."))
        else:
            self._fields.refuse(wrong_type("input", "a string or an array", value))

    def _item(self, item: JsonValue, path: str) -> None:
        if not isinstance(item, Mapping):
            self._fields.refuse(wrong_type(path, "an object", item))
        else:
            content = item.get("content")
            if isinstance(content, str) and item.get("role") == "user":
                self.texts.append(content)
            if item.get("type") == IMAGE_CALL:
                self.inputs.append(InputFacts(role=InputRole.IMAGE, source="item"))
            self._refer(item, path)
            self._part(item, path)

    def _refer(self, item: JsonObject, path: str) -> None:
        """Note what an item says that somebody else has to know."""
        name, bare = item.get("id"), _is_reference(item)
        if isinstance(name, str) and (bare or item.get("type") in _SEALED):
            self.references.append(Reference(id=name, param=f"{path}.id", bare=bare))
        elif bare and name is None:
            self._fields.refuse(missing(f"{path}.id"))
        elif bare:
            self._fields.refuse(wrong_type(f"{path}.id", "a string", name))

    def _part(self, part: JsonObject, path: str) -> None:
        kind, text, address = part.get("type"), part.get("text"), part.get("image_url")
        if part.get("file_id") is not None:
            self._fields.refuse(unsupported_file(f"{path}.file_id"))
        if kind == "input_text" and isinstance(text, str):
            self.texts.append(text)
        if kind in ("input_image", "computer_screenshot") and isinstance(address, str):
            self.inputs.append(given(address, InputRole.IMAGE, self._inline))
        for name in _NESTED:
            nested = part.get(name)
            inner = (nested,) if isinstance(nested, Mapping) else items(nested)
            for index, member in enumerate(inner):
                if isinstance(member, Mapping):
                    self._part(member, f"{path}.{name}[{index}]")


def _is_reference(item: JsonObject) -> bool:
    kind = item.get("type")
    if kind == IMAGE_CALL:
        return item.get("result") is None
    return kind == "item_reference" or (kind is None and "role" not in item and "id" in item)


def _with_tool(facts: Facts, fields: Fields, inline: InlineFacts) -> Facts:
    tools = fields.objects("tools")
    found = [(index, tool) for index, tool in enumerate(tools) if tool.get("type") == IMAGE_TOOL]
    models: set[str | None] = set()
    for index, tool in found:
        own = Fields(tool, prefix=f"tools[{index}].")
        models.add(own.model())
        read = with_options(facts, own)
        mask = read_mask(own, own.value("input_image_mask"), f"tools[{index}].input_image_mask", inline)
        if own.refusal is not None:
            fields.refuse(own.refusal)
        if index == found[0][0]:
            facts = replace(read, mask=mask)
    if len(models) > 1:
        fields.refuse(bad_value("tools", "the image tools of one request must name the same model."))
    if not found or fields.refusal is not None:
        return facts
    forced = _is_forced(fields.value("tool_choice"), tools)
    return replace(facts, tool=ToolFacts(asked_model=models.pop(), forced=forced, index=found[0][0]))


def _is_forced(choice: JsonValue, tools: Sequence[JsonObject]) -> bool:
    """Whether the model has no choice but to draw."""
    if choice == "required":
        return _only_image(tools)
    if not isinstance(choice, Mapping):
        return False
    if choice.get("type") == "allowed_tools":
        return choice.get("mode") == "required" and _only_image(items(choice.get("tools")))
    return choice.get("type") == IMAGE_TOOL


def _only_image(tools: Sequence[JsonValue]) -> bool:
    return len(tools) > 0 and all(isinstance(tool, Mapping) and tool.get("type") == IMAGE_TOOL for tool in tools)
