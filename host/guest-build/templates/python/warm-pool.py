"""{{summary}}."""

from wit_world import exports
from wit_world.exports import plugin, warm_pool
from wit_world.imports import types

import knobs
from knobs import LARGEST_U32, Knob

KNOBS = {
    "headroom": Knob(0, 256, 3, "Addresses to hold ready however few pods there are."),
    "percent": Knob(
        0, 100, 10, "Addresses to hold ready besides, in percent of the pods that have one."
    ),
}

# Made while the component is built: whatever runs here costs a decision nothing.
SCHEMA = knobs.schema(KNOBS)


class Plugin(exports.Plugin):
    def describe(self) -> plugin.Descriptor:
        return plugin.Descriptor(
            name="{{name}}",
            version="0.1.0",
            summary="{{summary}}",
            settings_schema=SCHEMA,
            state_format=0,
        )

    def check_settings(self, settings: list[types.Setting]) -> list[plugin.Issue]:
        return knobs.check(KNOBS, settings)


class WarmPool(exports.WarmPool):
    def decide(self, snapshot: warm_pool.Snapshot) -> warm_pool.Proposal:
        values = knobs.read(KNOBS, snapshot.context.settings)
        pods = snapshot.pods.bound
        # Floor division of the negative rounds up.
        ready = min(values["headroom"] - (-pods * values["percent"] // 100), LARGEST_U32)
        prefixes = snapshot.mode == types.Mode.PREFIX
        return warm_pool.Proposal(
            target=warm_pool.Band(
                ready_low=ready,
                # Half as many again may stay: a pod that goes and comes back costs no call.
                ready_high=min(ready + ready // 2, LARGEST_U32),
                total_floor=0,
                grain=warm_pool.Grain.PREFIX if prefixes else warm_pool.Grain.ADDRESS,
                keep_free=0,
                release_after_ms=60_000,
                placement=warm_pool.Placement.PACK,
            ),
            outcome=knobs.because(f"{pods} pods have an address: {ready} more are held ready"),
        )
