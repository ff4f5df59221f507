// {{summary}}.

import { Knobs, LARGEST_U32, because, fromU32, toU32 } from "./enid.js";

const knobs = new Knobs({
    pods_per_vcpu: { least: 1, most: 250, usual: 20, about: "Pods that a vCPU may run at most." },
    host_network: {
        least: 0,
        most: 32,
        usual: 2,
        about: "Pods on the host's network, which need no address.",
    },
});

export const plugin = {
    describe() {
        return {
            name: "{{name}}",
            version: "0.1.0",
            summary: "{{summary}}",
            settingsSchema: knobs.schema(),
            stateFormat: 0,
        };
    },

    checkSettings(settings) {
        return knobs.check(settings);
    },
};

/** Addresses for pods: each ENI's first is its own, and in prefix mode the others are prefixes. */
function addresses(node) {
    const withoutPods = fromU32(node.reservedEnis) + (node.customNetworking ? 1 : 0);
    const enis = Math.max(fromU32(node.maxEnis) - withoutPods, 0);
    const each = node.mode === "prefix" ? 16 : 1;
    return Math.min(enis * Math.max(fromU32(node.ipv4PerEni) - 1, 0) * each, LARGEST_U32);
}

export const maxPods = {
    decide(node) {
        const { pods_per_vcpu, host_network } = knobs.read(node.context.settings);
        if (node.mode === "prefix" && !node.prefixes) {
            throw { tag: "unsupported", val: `EC2 delegates no prefixes to ${node.instanceType}` };
        }
        const free = addresses(node);
        const pods = Math.min(free + host_network, LARGEST_U32);
        const vcpus = fromU32(node.vcpus);
        const cap = vcpus * pods_per_vcpu;
        if (node.uncapped || pods <= cap) {
            return {
                target: toU32(pods),
                outcome: because(`${free} addresses, and ${host_network} pods without one`),
            };
        }
        return {
            target: toU32(cap),
            outcome: because(`${vcpus} vCPUs, which is capped: addresses suffice for ${pods}`),
        };
    },
};
