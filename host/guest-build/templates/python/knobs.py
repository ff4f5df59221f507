"""Settings that are whole numbers."""

import json
from typing import NamedTuple

from componentize_py_types import Err
from wit_world.exports import plugin
from wit_world.imports import types

LARGEST_U32 = 0xFFFF_FFFF


class Knob(NamedTuple):
    least: int
    most: int
    usual: int
    about: str


def schema(knobs: dict[str, Knob]) -> str:
    """The JSON Schema that the host shows and checks."""
    properties = {
        key: {
            "type": "integer",
            "minimum": knob.least,
            "maximum": knob.most,
            "default": knob.usual,
            "description": knob.about,
        }
        for key, knob in knobs.items()
    }
    return json.dumps({"type": "object", "additionalProperties": False, "properties": properties})


def shown(value: types.Value) -> str:
    match value:
        case types.Value_Flag(flag):
            return "true" if flag else "false"
        case types.Value_Int(number):
            return str(number)
        case types.Value_Text(text):
            return f"`{text[:64]}`"


def check(knobs: dict[str, Knob], settings: list[types.Setting]) -> list[plugin.Issue]:
    """All that is wrong with the settings."""
    seen = set()
    issues = []
    for setting in settings:
        knob = knobs.get(setting.key)
        number = setting.value.value if isinstance(setting.value, types.Value_Int) else None
        message = None
        if setting.key in seen:
            message = "set twice"
        elif knob is None:
            message = f"unknown setting, known are {', '.join(knobs)}"
        elif number is None or not knob.least <= number <= knob.most:
            message = f"expected an integer from {knob.least} to {knob.most}, got {shown(setting.value)}"
        if message is not None:
            issues.append(plugin.Issue(setting.key, message))
        seen.add(setting.key)
    return issues


def read(knobs: dict[str, Knob], settings: list[types.Setting]) -> dict[str, int]:
    """Values by key; raises the failure that the contract has for wrong settings."""
    issues = check(knobs, settings)
    if issues:
        words = "; ".join(f"{issue.key}: {issue.message}" for issue in issues)
        raise Err(types.Failure_Settings(words))
    values = {key: knob.usual for key, knob in knobs.items()}
    for setting in settings:
        if isinstance(setting.value, types.Value_Int):
            values[setting.key] = setting.value.value
    return values


def because(reason: str) -> types.Outcome:
    """What comes with a target that needs no more than a reason."""
    return types.Outcome(reason=reason, next_check_ms=None, state=b"", annotations=[])
