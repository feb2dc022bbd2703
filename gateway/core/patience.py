"""How long one attempt may take: by the shape of the request, as data says."""

from gateway.core.pixels import pixels_of
from gateway.core.table import Patience
from gateway.core.types import Facts, Surface


def patience_for(facts: Facts, patience: Patience) -> float:
    """Give the seconds one attempt may take, by the shape of the request.

    An image request takes the figure of its quality (the default without one), or the heavy figure when the size asked
    for has more pixels, or more pictures were given, than the data says. A turn of Responses has one figure.
    """
    if facts.surface is Surface.RESPONSES:
        return patience.responses_s
    by_quality = patience.by_quality.get(facts.quality or "", patience.default_s)
    pixels = pixels_of(facts.size) or 0
    is_heavy = pixels > patience.heavy_pixels or len(facts.inputs) > patience.heavy_inputs
    return max(by_quality, patience.heavy_s) if is_heavy else by_quality
