"""{{summary}}."""

from wit_world import exports
from wit_world.exports import plugin, subnet_selection
from wit_world.imports import types

import knobs
from knobs import Knob

KNOBS = {
    "keep_free": Knob(0, 65_536, 16, "Addresses to leave to others in every subnet."),
    "failure_cost": Knob(
        0, 4096, 16, "What a failure in the last ten minutes counts, in free addresses."
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


def may_be_used(subnet: types.SubnetUse) -> bool:
    return subnet.role != types.RoleTag.EXCLUDED and subnet.cluster != types.ClusterTag.FOREIGN


class SubnetSelection(exports.SubnetSelection):
    def decide(self, snapshot: subnet_selection.Snapshot) -> subnet_selection.Proposal:
        values = knobs.read(KNOBS, snapshot.context.settings)
        least = snapshot.wanted + values["keep_free"]
        ranked = []
        for candidate, subnet in enumerate(snapshot.candidates):
            if may_be_used(subnet) and subnet.free >= least:
                room = max(subnet.free - subnet.recent_failures * values["failure_cost"], 0)
                ranked.append(subnet_selection.Ranked(candidate=candidate, weight=room))
        # Stable: of equals the first stays first.
        ranked.sort(key=lambda entry: -entry.weight)
        reason = f"{len(ranked)} of {len(snapshot.candidates)} subnets have {least} addresses free"
        return subnet_selection.Proposal(target=ranked, outcome=knobs.because(reason))
