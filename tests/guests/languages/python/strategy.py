"""The strategy `batched` once more, in Python: whole batches, batch * ceil(least free fraction + demand / batch)."""

import json
from typing import NamedTuple

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import plugin, warm_pool
from wit_world.imports import types

LARGEST_U32 = 0xFFFF_FFFF

# Bytes of a wrong text that a message shows.
SHOWN_BYTES = 64


class Knob(NamedTuple):
    least: int
    most: int
    usual: int
    about: str


KNOBS = {
    "batch": Knob(1, 256, 16, "Addresses in a batch."),
    "least_free_percent": Knob(0, 400, 50, "Part of a batch that is always ready, in percent."),
    "release_after_secs": Knob(
        0, 86400, 60, "Seconds that an address must have been unused before it is given back."
    ),
}

# Made while the component is built: whatever runs here costs a decision nothing.
SCHEMA = json.dumps(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key: {
                "type": "integer",
                "minimum": knob.least,
                "maximum": knob.most,
                "default": knob.usual,
                "description": knob.about,
            }
            for key, knob in KNOBS.items()
        },
    },
    separators=(",", ":"),
)


def shown(value: types.Value) -> str:
    match value:
        case types.Value_Flag(flag):
            return "true" if flag else "false"
        case types.Value_Int(number):
            return str(number)
        case types.Value_Text(text):
            encoded = text.encode()
            if len(encoded) > SHOWN_BYTES:
                return f"`{encoded[:SHOWN_BYTES].decode(errors='ignore')}…`, {len(encoded)} bytes"
            return f"`{text}`"


def problem(key: str, value: types.Value) -> str | None:
    knob = KNOBS.get(key)
    if knob is None:
        return f"unknown setting, known are {', '.join(KNOBS)}"
    if isinstance(value, types.Value_Int) and knob.least <= value.value <= knob.most:
        return None
    return f"expected an integer from {knob.least} to {knob.most}, got {shown(value)}"


def parse(settings: list[types.Setting]) -> tuple[dict[str, int], list[plugin.Issue]]:
    """Values by key, and all that is wrong with the settings."""
    values = {key: knob.usual for key, knob in KNOBS.items()}
    issues = []
    seen = set()
    for setting in settings:
        if setting.key in seen:
            issues.append(plugin.Issue(setting.key, "set twice"))
        seen.add(setting.key)
    for setting in settings:
        message = problem(setting.key, setting.value)
        if message is not None:
            issues.append(plugin.Issue(setting.key, message))
        elif isinstance(setting.value, types.Value_Int):
            values[setting.key] = setting.value.value
    return values, issues


class Plugin(exports.Plugin):
    def describe(self) -> plugin.Descriptor:
        return plugin.Descriptor(
            name="batched-python",
            version="0.1.0",
            summary="Holds whole batches: batch × ⌈least free fraction + pods ÷ batch⌉ addresses",
            settings_schema=SCHEMA,
            state_format=0,
        )

    def check_settings(self, settings: list[types.Setting]) -> list[plugin.Issue]:
        return parse(settings)[1]


class WarmPool(exports.WarmPool):
    def decide(self, snapshot: warm_pool.Snapshot) -> warm_pool.Proposal:
        values, issues = parse(snapshot.context.settings)
        if issues:
            words = "; ".join(f"{issue.key}: {issue.message}" for issue in issues)
            raise Err(types.Failure_Settings(words))
        batch = values["batch"]
        pods = snapshot.pods
        demand = min(pods.bound + pods.waiting + pods.expected, LARGEST_U32)
        hundredths = values["least_free_percent"] * batch + demand * 100
        # Floor division of the negative rounds up.
        total = min(batch * -(-hundredths // (100 * batch)), LARGEST_U32)
        return warm_pool.Proposal(
            target=warm_pool.Band(
                ready_low=0,
                ready_high=0,
                total_floor=total,
                grain=warm_pool.Grain.ADDRESS,
                keep_free=0,
                release_after_ms=values["release_after_secs"] * 1000,
                placement=warm_pool.Placement.PACK,
            ),
            outcome=types.Outcome(
                reason=f"{demand} pods ask for {total // batch} batches of {batch}: {total} addresses",
                next_check_ms=None,
                state=b"",
                annotations=[],
            ),
        )
