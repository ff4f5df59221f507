"""{{summary}}."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import max_pods, plugin
from wit_world.imports import types

import knobs
from knobs import LARGEST_U32, Knob

KNOBS = {
    "pods_per_vcpu": Knob(1, 250, 20, "Pods that a vCPU may run at most."),
    "host_network": Knob(0, 32, 2, "Pods on the host's network, which need no address."),
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


def addresses(node: max_pods.Snapshot) -> int:
    """Addresses for pods: each ENI's first is its own, and in prefix mode the others are prefixes."""
    enis = max(node.max_enis - node.reserved_enis - int(node.custom_networking), 0)
    each = 16 if node.mode == types.Mode.PREFIX else 1
    return min(enis * max(node.ipv4_per_eni - 1, 0) * each, LARGEST_U32)


class MaxPods(exports.MaxPods):
    def decide(self, snapshot: max_pods.Snapshot) -> max_pods.Proposal:
        values = knobs.read(KNOBS, snapshot.context.settings)
        if snapshot.mode == types.Mode.PREFIX and not snapshot.prefixes:
            why = f"EC2 delegates no prefixes to {snapshot.instance_type}"
            raise Err(types.Failure_Unsupported(why))
        free = addresses(snapshot)
        host_network = values["host_network"]
        pods = min(free + host_network, LARGEST_U32)
        cap = min(snapshot.vcpus * values["pods_per_vcpu"], LARGEST_U32)
        if snapshot.uncapped or pods <= cap:
            reason = f"{free} addresses, and {host_network} pods without one"
            return max_pods.Proposal(target=pods, outcome=knobs.because(reason))
        reason = f"{snapshot.vcpus} vCPUs, which is capped: addresses suffice for {pods}"
        return max_pods.Proposal(target=cap, outcome=knobs.because(reason))
