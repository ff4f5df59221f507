// {{summary}}.

import { Knobs, LARGEST_U32, because, fromU32, toU32 } from "./enid.js";

const knobs = new Knobs({
    headroom: {
        least: 0,
        most: 256,
        usual: 3,
        about: "Addresses to hold ready however few pods there are.",
    },
    percent: {
        least: 0,
        most: 100,
        usual: 10,
        about: "Addresses to hold ready besides, in percent of the pods that have one.",
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

export const warmPool = {
    decide(now) {
        const { headroom, percent } = knobs.read(now.context.settings);
        const pods = fromU32(now.pods.bound);
        const ready = Math.min(headroom + Math.ceil((pods * percent) / 100), LARGEST_U32);
        return {
            target: {
                readyLow: toU32(ready),
                // Half as many again may stay: a pod that goes and comes back costs no call.
                readyHigh: toU32(ready + Math.floor(ready / 2)),
                totalFloor: 0,
                grain: now.mode === "prefix" ? "prefix" : "address",
                keepFree: 0,
                releaseAfterMs: 60_000,
                placement: "pack",
            },
            outcome: because(`${pods} pods have an address: ${ready} more are held ready`),
        };
    },
};
