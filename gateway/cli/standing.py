"""How the channels of a running gateway stand, as its ``/api/channels`` says: for every command that shows it."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from gateway.cli import client, terminal
from gateway.cli.setting import Setting, base_url
from gateway.cli.terminal import DIM, GOOD, WARN, stacked, words
from gateway.cli.wording import reason as said
from gateway.core.brake import BrakeState
from gateway.core.table import Secret
from gateway.core.types import JsonObject, JsonValue


def standing(url: str | None, found: Setting) -> JsonObject:
    """Ask the gateway; ends the command with exit code 1 and a sentence when it cannot be asked."""
    return answer_of(ask_operator(f"{base_url(url, found)}/api/channels", operator_key(found)))


def ask_operator(url: str, key: Secret | None, document: JsonObject | None = None) -> client.Reply | client.Unreached:
    """Read one of the operator's addresses, or ask it about ``document``.

    Where a client's key opens nothing, this machine may do so without one.
    """
    reply = _asked(url, key, document)
    if key is not None and isinstance(reply, client.Reply) and reply.status == 403:
        return _asked(url, None, document)
    return reply


def _asked(url: str, key: Secret | None, document: JsonObject | None) -> client.Reply | client.Unreached:
    return client.get(url, key) if document is None else client.post(url, document, key)


def operator_key(found: Setting) -> Secret | None:
    """Give the key that ``/api`` wants."""
    return found.process.admin_key or found.process.api_key


def answer_of(reply: client.Reply | client.Unreached) -> JsonObject:
    """Give the document of a good answer, or end the command with what was wrong."""
    if isinstance(reply, client.Unreached):
        terminal.stop(f"the gateway cannot be reached: {reply.why}", 1)
    document = reply.document or {}
    if reply.status != 200:
        why = document.get("detail") or document.get("title") or "without a reason that can be read"
        terminal.stop(f"the gateway answered {reply.status}: {why}", 1)
    return document


def objects(value: JsonValue) -> list[JsonObject]:
    """Give the objects of a list; anything else is none."""
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [one for one in listed if isinstance(one, Mapping)]


def state(channel: JsonObject) -> Text:
    """Say how a channel's hand brake is set, and why it is not ready when it is not."""
    name, unready = str(channel["state"]), words(str(channel.get("unready") or ""), WARN)
    if name == BrakeState.ON and unready.plain:
        return unready
    return stacked(words(name, GOOD if name == BrakeState.ON else WARN), *_terms(channel), unready)


def _terms(channel: JsonObject) -> list[Text]:
    end = until_words(channel["until"]) if channel.get("until") else ""
    return [words(end, DIM), words(str(channel.get("reason") or ""), DIM)]


def brake_words(channel: JsonObject) -> str:
    """Say until when and why a channel's brake is set; nothing for most."""
    return ": ".join(term.plain for term in _terms(channel) if term.plain)


def until_words(moment: JsonValue) -> str:
    """Say until when a brake is set, to the minute."""
    return f"until {str(moment)[:16].replace('T', ' ')} UTC"


def health(channel: JsonObject, row: JsonObject) -> Text:
    """Say how a row is; what rests is said also of a channel that is not ready."""
    if channel.get("unready") and not row.get("resting"):
        return words("not ready", WARN)
    if row.get("resting"):
        return words(f"{said(str(row['resting']), None)}, for {row.get('back_in_s')} s", WARN)
    return words("well, on probation" if row.get("on_probation") else "well", GOOD)


def by_target(document: JsonObject) -> Mapping[str, Text]:
    """Give what is to be said of each ``channel/row``: a brake that is set goes before its health."""
    return {
        f"{channel['channel']}/{row['row']}": state(channel)
        if channel.get("unready") or channel.get("state") != BrakeState.ON
        else health(channel, row)
        for channel in objects(document.get("data"))
        for row in objects(channel.get("rows"))
    }
