"""From a request's headers and bytes to a ``Job``: bounded, streaming, spooled, and nothing of the body changed."""

from gateway.intake.incoming import ClientGone, Incoming
from gateway.intake.reading import Intake

__all__ = ["ClientGone", "Incoming", "Intake"]
