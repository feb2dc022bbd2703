"""Records of single requests: from the running gateway when it gives them, else from the ledger that lies here."""

from msgspec import Struct

from gateway.cli import client
from gateway.cli.standing import ask_operator
from gateway.core.table import Secret
from gateway.core.types import JsonObject
from gateway.stores.reader import open_reader
from gateway.stores.refusals import LedgerRefused


class Records(Struct, frozen=True, kw_only=True):
    """Where records are looked for; ``database`` is the ledger of the routes file at hand."""

    base: str
    key: Secret | None
    database: str

    def find(self, request_id: str) -> JsonObject | None:
        """Give the record of a settled request, or nothing."""
        reply = ask_operator(f"{self.base}/api/requests/{request_id}", self.key)
        if isinstance(reply, client.Reply) and reply.status == 200:
            return reply.document
        return self.find_here(request_id)

    def find_here(self, request_id: str) -> JsonObject | None:
        """Look into the ledger that lies here only."""
        try:
            row = open_reader(self.database).find(request_id)
        except LedgerRefused:
            return None
        return None if row is None else row.record
