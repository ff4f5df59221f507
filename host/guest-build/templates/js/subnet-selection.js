// {{summary}}.

import { Knobs, because, fromU32, toU32 } from "./enid.js";

const knobs = new Knobs({
    keep_free: { least: 0, most: 65_536, usual: 16, about: "Addresses to leave to others in every subnet." },
    failure_cost: {
        least: 0,
        most: 4096,
        usual: 16,
        about: "What a failure in the last ten minutes counts, in free addresses.",
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

export const subnetSelection = {
    decide({ context, wanted, candidates }) {
        const { keep_free, failure_cost } = knobs.read(context.settings);
        const least = fromU32(wanted) + keep_free;
        const ranked = [];
        candidates.forEach((subnet, candidate) => {
            const free = fromU32(subnet.free);
            if (subnet.role === "excluded" || subnet.cluster === "foreign" || free < least) {
                return;
            }
            const room = Math.max(free - fromU32(subnet.recentFailures) * failure_cost, 0);
            ranked.push({ candidate, room });
        });
        // Stable: of equals the first stays first.
        ranked.sort((one, other) => other.room - one.room);
        return {
            target: ranked.map(({ candidate, room }) => ({ candidate, weight: toU32(room) })),
            outcome: because(`${ranked.length} of ${candidates.length} subnets have ${least} addresses free`),
        };
    },
};
