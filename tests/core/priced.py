"""Prices and purchases for the tests of money: the list prices as OpenAI publishes them, built in code."""

from fractions import Fraction

from gateway.core.money import Cost
from gateway.core.prices import (
    ImagePrice,
    Item,
    MatrixPrice,
    Price,
    ReportedPrice,
    RequestPrice,
    TokenPrice,
)
from gateway.core.pricing import Purchase, attempt_cost
from gateway.core.seen import Reading
from gateway.core.tokens import TokenTable
from gateway.core.types import Facts, ImageFacts, JsonObject, Outcome, Surface, ToolFacts

AUTO = ((1024, 1024), (1536, 1024), (1024, 1536))
TABLE_2 = TokenTable(name="2", factors={"low": 16, "medium": 48, "high": 96}, auto_sizes=AUTO, partial=100)
TABLE_2_5 = TokenTable(
    name="2.5", factors={"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96}, auto_sizes=AUTO, partial=100
)
TABLE_1_5 = TokenTable(
    name="1.5",
    fixed={
        (1024, 1024): {"low": 272, "medium": 1056, "high": 4160},
        (1024, 1536): {"low": 408, "medium": 1584, "high": 6240},
        (1536, 1024): {"low": 400, "medium": 1568, "high": 6208},
    },
)


def token_price(name: str, table: TokenTable | None = TABLE_2, **rates: str) -> TokenPrice:
    """Build a price from the words of the file."""
    return TokenPrice(
        id=name, currency="USD", rates={Item(item): Fraction(rate) for item, rate in rates.items()}, table=table
    )


GPT_IMAGE_2 = token_price(
    "gpt-image-2", text_in="5", text_in_cached="1.25", image_in="8", image_in_cached="2", image_out="30"
)
GPT_IMAGE_1_5 = token_price(
    "gpt-image-1.5",
    TABLE_1_5,
    text_in="5",
    text_in_cached="1.25",
    image_in="8",
    image_in_cached="2",
    image_out="32",
    text_out="10",
)
GPT_IMAGE_1_MINI = token_price(
    "mini", None, text_in="2", text_in_cached="0.2", image_in="2.5", image_in_cached="0.25", image_out="8"
)
GPT_5_5 = token_price("gpt-5.5", None, input="5", input_cached="0.5", output="30")
GEMINI_3_PRO = token_price("gemini-3-pro", None, input="2", text_out="12", image_out="120")
PER_REQUEST = RequestPrice(id="laozhang/gpt-image-2", currency="USD", amount=Fraction(30_000))
PER_IMAGE = ImagePrice(id="xai/grok", currency="USD", amount=Fraction(20_000))
MATRIX = MatrixPrice(
    id="fal/gpt-image-2",
    currency="USD",
    cells={
        "1024x1024": {"low": Fraction(5880), "medium": Fraction(52680), "high": Fraction(210720)},
        "2K": {"*": Fraction(150_000)},
    },
)
REPORTED = ReportedPrice(id="openrouter/x", currency="USD")
IN_CNY = RequestPrice(id="cn/gpt-image-2", currency="CNY", amount=Fraction(300_000))


def picture(width: int | None = 1024, height: int | None = 1024) -> ImageFacts:
    return ImageFacts(sha256="00", bytes=1, format="png", width=width, height=height)


def usage(text: int = 10, image: int = 0, out: int = 1756) -> JsonObject:
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens": out,
        "total_tokens": text + image + out,
    }


def asked(
    n: int = 1,
    size: str | None = "1024x1024",
    quality: str | None = "medium",
    surface: Surface = Surface.GENERATIONS,
    partials: int | None = None,
) -> Facts:
    return Facts(
        surface=surface,
        asked_model="m",
        n=n,
        size=size,
        quality=quality,
        prompt_chars=40,
        partial_images=partials,
        tool=ToolFacts(asked_model="t", forced=True) if surface is Surface.RESPONSES else None,
    )


def bought(
    price: Price | None,
    reading: Reading | None = None,
    outcome: Outcome = Outcome.DELIVERED,
    facts: Facts | None = None,
    tool: Price | None = None,
) -> Purchase:
    return Purchase(facts=facts or asked(), outcome=outcome, price=price, tool_price=tool, reading=reading)


def came(*pictures: ImageFacts, used: JsonObject | None = None, quality: str | None = None) -> Reading:
    return Reading(shaped=True, pictures=pictures, usage=used, quality=quality)


def quote(facts: Facts, price: Price | None) -> Cost:
    """What a request of this shape may cost at most: an attempt whose outcome is unknown."""
    return attempt_cost(bought(price, None, Outcome.UNKNOWN, facts=facts))
