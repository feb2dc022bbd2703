"""The seams: Protocols with the fewest methods that work, and the values that pass through them.

``relay``, ``billing``, ``intake`` and ``web`` see these and never an adapter; ``main`` chooses the adapters.
"""

from gateway.ports.books import (
    AttemptIntent,
    AttemptResult,
    Capture,
    Hold,
    Ledger,
    LedgerUnavailable,
    LogQuery,
    Refused,
    RequestIntent,
    Settlement,
)
from gateway.ports.keys import KeyOffice, Keys
from gateway.ports.moments import Clock, Events
from gateway.ports.pictures import (
    AssetBooks,
    AssetEnds,
    AssetQuery,
    Blob,
    Blobs,
    Filed,
    NoRoom,
    Old,
    Picture,
    StoreUnavailable,
)
from gateway.ports.shared import Ask, Bindings, Brakes, Peer, Shared
from gateway.ports.wires import (
    AnswerBody,
    Broken,
    Call,
    Codec,
    Codecs,
    Exchange,
    ExchangeBroken,
    Job,
    Replayable,
    Sender,
    Senders,
)

__all__ = [
    "AnswerBody",
    "Ask",
    "AssetBooks",
    "AssetEnds",
    "AssetQuery",
    "AttemptIntent",
    "AttemptResult",
    "Bindings",
    "Blob",
    "Blobs",
    "Brakes",
    "Broken",
    "Call",
    "Capture",
    "Clock",
    "Codec",
    "Codecs",
    "Events",
    "Exchange",
    "ExchangeBroken",
    "Filed",
    "Hold",
    "Job",
    "KeyOffice",
    "Keys",
    "Ledger",
    "LedgerUnavailable",
    "LogQuery",
    "NoRoom",
    "Old",
    "Peer",
    "Picture",
    "Refused",
    "Replayable",
    "RequestIntent",
    "Sender",
    "Senders",
    "Settlement",
    "Shared",
    "StoreUnavailable",
]
