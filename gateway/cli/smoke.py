"""``waybill smoke``: the same small request down each channel of a route, through the running gateway, compared.

Every request is pinned to its channel with no fallback. What came is held against what was asked for, against the
baseline when there is one, and against the gateway's own record. A row whose surface passed is noted as verified in the
ledger, for ``require: verified``. Exit 0 when nothing differs that matters, 1 when something does or nothing could be
compared, 2 for an option or file that is wrong, 130 after an interrupt.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import pictureoptions as options
from gateway.cli import terminal
from gateway.cli.commission import Commission, Given
from gateway.cli.delivery import items, member, text
from gateway.cli.differences import facets
from gateway.cli.image import given_at
from gateway.cli.legs import Seen, Walked, walk
from gateway.cli.likeness import MOST_PIXELS, sample_picture
from gateway.cli.obtaining import Desk
from gateway.cli.options import Config, DataDir, Json, Url
from gateway.cli.readiness import Readiness, readiness
from gateway.cli.records import Records
from gateway.cli.setting import base_url, setting
from gateway.cli.smokeplan import SmokePlan, Wanted, bill, lay_out
from gateway.cli.smoketable import Compared, show
from gateway.cli.standing import operator_key
from gateway.cli.terminal import DIM, words
from gateway.cli.waiting import waiting
from gateway.config import Loaded
from gateway.core.money import decimal
from gateway.core.table import RouteTarget
from gateway.core.types import JsonObject, JsonValue, Surface
from gateway.core.verification import Verification, proof_of
from gateway.ports import LedgerUnavailable
from gateway.stores.verified_sql import record_verification

PROMPT = "A red circle on a white ground, nothing else."

Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline", help="The channel to compare the others with. \\[default: the route's first direct one]"
    ),
]
TargetName = Annotated[str | None, typer.Option("--target", help="Only this channel. \\[default: all that are ready]")]
Like = Annotated[
    str | None, typer.Option("--like", help="Repeat what this earlier request asked for.", metavar="REQUEST_ID")
]
Runs = Annotated[int, typer.Option("--runs", min=1, max=20, help="How often each request is made.")]
Endpoints = Annotated[
    list[Surface] | None, typer.Option("--endpoint", "-e", help="Only this surface; may be repeated.")
]
WithMask = Annotated[bool, typer.Option("--with-mask", help="Make up a mask for edits.")]
SmokePrompt = Annotated[str, typer.Option("--prompt", help="What to draw.", metavar="TEXT")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before money is spent.")]


class _Run(Struct, frozen=True, kw_only=True):
    """One run of the command."""

    planned: SmokePlan
    loaded: Loaded
    ready: Readiness
    desk: Desk
    records: Records
    env: Mapping[str, str]
    runs: int


def smoke(
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The route to try.")] = None,
    baseline: Baseline = None,
    target: TargetName = None,
    endpoint: Endpoints = None,
    prompt: SmokePrompt = PROMPT,
    size: options.Size = None,
    quality: options.Quality = None,
    background: options.Background = None,
    output_format: options.Format = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="The picture to change.", metavar="IMG")] = None,
    mask: options.Mask = None,
    with_mask: WithMask = False,
    stream: options.Stream = False,
    partial: options.Partial = None,
    n: options.Count = 1,
    runs: Runs = 1,
    like: Like = None,
    yes: Yes = False,
    timeout: options.Timeout = 900,
    url: Url = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Send small live requests down a route's channels, and compare what comes back."""
    found = setting(config=config, data_dir=data_dir)
    desk = Desk(base=base_url(url, found), key=found.process.api_key, timeout_s=timeout)
    loaded = found.routes()
    asked = Commission(surface=Surface.GENERATIONS, prompt=prompt, model=model, n=n, partial_images=partial)
    asked = replace(asked, size=size, quality=quality, background=background, output_format=output_format)
    asked = replace(asked, images=tuple(map(given_at, image or [])), stream=stream or partial is not None)
    wanted = Wanted(
        asked=replace(asked, mask=None if mask is None else given_at(mask)),
        surfaces=[Surface.EDITS] if (image or mask or with_mask) and not endpoint else endpoint or [],
        baseline=baseline,
        target=target,
        runs=runs,
        has_mask=with_mask,
    )
    records = Records(base=desk.base, key=operator_key(found), database=loaded.settings.database)
    ready = readiness(loaded.table, desk.base, records.key)
    wanted = wanted if like is None else alike(wanted, like, records)
    planned = lay_out(wanted, ready)
    run = _Run(planned=planned, loaded=loaded, ready=ready, desk=desk, records=records, env=found.env, runs=runs)
    with terminal.interruptible("what the gateway has begun it finishes: see `waybill logs`"):
        _agree(run, is_agreed=yes)
        _smoke(run, as_json=as_json)


def _smoke(run: _Run, *, as_json: bool) -> None:
    walked = _walked(run)
    compared = [_compared(run, target, walked) for target in run.planned.targets]
    verified = _verify(run, compared, walked)
    passed = all(one.passed for one in compared)
    if as_json:
        document: JsonObject = {
            "model": run.planned.route.name,
            "passed": passed,
            "targets": [one.as_json() for one in compared],
            "skipped": list(run.planned.skipped),
            "verified": verified,
            "cost": [{"currency": currency, "amount_micro": amount} for currency, amount in _spent(walked).items()],
            "requests": [seen.request_id for one in walked for seen in one.seen],
        }
        terminal.print_json(document)
    else:
        screen = terminal.console(run.env)
        show(screen, compared, run.planned.skipped)
        for line in _after(walked, verified, run.loaded.table.version):
            screen.print(words(line, DIM))
    raise typer.Exit(0 if passed else 1)


def _agree(run: _Run, *, is_agreed: bool) -> None:
    """Say what the run may cost, and have it agreed to when it is money."""
    lines = bill(run.planned.legs, run.runs)
    if not lines:
        return
    count = run.runs * len(run.planned.legs)
    terminal.complain([f"{_requests(count)}, {', and '.join(lines)}."])
    if is_agreed:
        return
    if not sys.stdin.isatty():
        terminal.stop("nothing was asked for: this would spend money. Run it in a terminal to be asked, or add --yes")
    if not typer.confirm("Spend it?", err=True):
        terminal.stop("nothing was asked for", 1)


def _walked(run: _Run) -> list[Walked]:
    """Walk all legs in each round, so that all channels see the same weather."""
    legs = [one.leg for one in run.planned.legs]
    seen: list[list[Seen]] = [[] for _ in legs]
    count = len(legs) * run.runs
    if not legs:
        return []
    with waiting(run.env, f"{_requests(count)} at {run.desk.base}", count) as line:
        for _ in range(run.runs):
            for place, leg in enumerate(legs):
                line.say(f"{leg.channel}: {leg.name}")
                seen[place].append(walk(leg, run.desk, run.records))
                line.step()
    return [Walked(leg=leg, seen=tuple(shown)) for leg, shown in zip(legs, seen, strict=True)]


def _compared(run: _Run, target: RouteTarget, walked: Sequence[Walked]) -> Compared:
    baseline = run.planned.baseline
    base = {one.leg.name: one for one in walked if baseline is not None and one.leg.channel == baseline.channel}
    found = [facets(base.get(one.leg.name), one) for one in walked if one.leg.channel == target.channel]
    return Compared(
        target=target.channel,
        row=target.row,
        baseline=None if baseline is None else baseline.channel,
        facets=tuple(facet for each in found for facet in each),
    )


def _verify(run: _Run, compared: Sequence[Compared], walked: Sequence[Walked]) -> list[JsonValue]:
    """Note in the ledger which rows passed on which surfaces; only in that of the gateway which was asked."""
    ids = [seen.request_id for one in walked for seen in one.seen if seen.request_id]
    if not ids or run.records.find_here(ids[-1]) is None:
        return []
    baseline = run.planned.baseline
    alone = replace(run, planned=replace(run.planned, baseline=None))
    known = [*compared, *([] if baseline is None else [_compared(alone, baseline, walked)])]
    noted: list[JsonValue] = []
    for one in known:
        channel = run.ready.table.channels[one.target]
        account = run.ready.accounts.get(channel.name)
        if account is None:
            terminal.complain([f"waybill: that {one.target} was tried is not noted: its key is not known here"])
            continue
        for leg in (found.leg for found in walked if found.leg.channel == one.target and _was_sent(found)):
            passed = one.passed_on(leg.name)
            proof = replace(proof_of(channel, channel.rows[one.row], leg.asked.surface), fingerprint=account)
            verification = Verification(proof=proof, at=datetime.now(UTC), passed=passed)
            try:
                record_verification(run.records.database, verification)
            except LedgerUnavailable as error:
                terminal.complain([f"waybill: {error}"])
                return noted
            noted.append({"channel": one.target, "row": one.row, "surface": leg.asked.surface, "passed": passed})
    return noted


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"


def _was_sent(walked: Walked) -> bool:
    """Whether the channel had a say: a request that never left the gateway tells nothing of it."""
    return all(seen.attempts for seen in walked.seen)


def _spent(walked: Sequence[Walked]) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for cost in (seen.cost or {} for one in walked for seen in one.seen):
        amount, currency = cost.get("amount_micro"), cost.get("currency")
        if isinstance(amount, int) and isinstance(currency, str):
            sums[currency] = sums.get(currency, 0) + amount
    return sums


def _after(walked: Sequence[Walked], verified: Sequence[JsonValue], version: str) -> list[str]:
    costs = [f"{decimal(amount)} {currency}" for currency, amount in _spent(walked).items()]
    unknown = sum((seen.cost or {}).get("amount_micro") is None for one in walked for seen in one.seen)
    spent = " and ".join(costs) or "nothing that is known"
    lines = [f"spent {spent}{f'; of {unknown} requests the cost is not known' if unknown else ''}"]
    if any(seen.config_version not in {None, version} for one in walked for seen in one.seen):
        lines.append("the gateway runs another version of the routes file than the one that was read here")
    noted = [one for one in verified if isinstance(one, Mapping)]
    if noted:
        said = [f"{one['channel']}/{one['row']} on {one['surface']}" for one in noted if one["passed"]]
        lines.append(f"verified: {', '.join(said) or 'nothing'}")
    return lines


def alike(wanted: Wanted, request_id: str, records: Records) -> Wanted:
    """Ask what an earlier request asked, as far as its record tells: not its pictures, and of its prompt the length."""
    record = records.find(request_id)
    if record is None:
        terminal.stop(f"there is no record of {request_id}")
    shape = record.get("request_shape")
    told: JsonObject = shape if isinstance(shape, Mapping) else {}
    asked, n, partial = wanted.asked, told.get("n"), told.get("partial_images")
    surface = text(record.get("endpoint"))
    same = replace(
        asked,
        model=asked.model or text(record.get("asked_model")) or text(member(record, "model_mapping", "asked")),
        prompt=text(told.get("prompt")) or asked.prompt,
        size=asked.size or text(told.get("size")),
        quality=asked.quality or text(told.get("quality")),
        background=asked.background or text(told.get("background")),
        output_format=asked.output_format or text(told.get("output_format")),
        n=n if isinstance(n, int) else asked.n,
        stream=asked.stream or record.get("stream") is True,
        partial_images=partial if isinstance(partial, int) else asked.partial_images,
        images=asked.images or _inputs(told),
    )
    surfaces = wanted.surfaces or [Surface(surface)] if surface in set(Surface) else wanted.surfaces
    return replace(wanted, asked=same, surfaces=surfaces, has_mask=wanted.has_mask or bool(told.get("mask")))


def _inputs(shape: JsonObject) -> tuple[Given, ...]:
    """Draw pictures of the sizes that were given."""
    sizes = [(one.get("width"), one.get("height")) for one in items(shape.get("input_images"))]
    drawn = [(w, h) for w, h in sizes if isinstance(w, int) and isinstance(h, int) and w * h <= MOST_PIXELS]
    return tuple(sample_picture(*one) for one in drawn)
