// The strategy `batched` once more, in JavaScript: whole batches, batch * ceil(least free fraction + demand / batch).

const LARGEST_U32 = 0xffff_ffff;

const KNOBS = {
    batch: { least: 1, most: 256, usual: 16, about: "Addresses in a batch." },
    least_free_percent: {
        least: 0,
        most: 400,
        usual: 50,
        about: "Part of a batch that is always ready, in percent.",
    },
    release_after_secs: {
        least: 0,
        most: 86400,
        usual: 60,
        about: "Seconds that an address must have been unused before it is given back.",
    },
};

function schema() {
    const properties = {};
    for (const [key, { least, most, usual, about }] of Object.entries(KNOBS)) {
        properties[key] = {
            type: "integer",
            minimum: least,
            maximum: most,
            default: usual,
            description: about,
        };
    }
    return JSON.stringify({ type: "object", additionalProperties: false, properties });
}

/** Bytes of a wrong text that a message shows. */
const SHOWN_BYTES = 64;

function bytes(character) {
    const point = character.codePointAt(0);
    return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
}

function shown({ tag, val }) {
    if (tag !== "text") {
        return String(val);
    }
    let length = 0;
    let start = "";
    for (const character of val) {
        length += bytes(character);
        start += length <= SHOWN_BYTES ? character : "";
    }
    return length > SHOWN_BYTES ? `\`${start}…\`, ${length} bytes` : `\`${val}\``;
}

function problem(key, value) {
    const knob = Object.hasOwn(KNOBS, key) ? KNOBS[key] : undefined;
    if (knob === undefined) {
        return `unknown setting, known are ${Object.keys(KNOBS).join(", ")}`;
    }
    const fits = value.tag === "int" && value.val >= knob.least && value.val <= knob.most;
    return fits ? undefined : `expected an integer from ${knob.least} to ${knob.most}, got ${shown(value)}`;
}

// The engine takes a u32 for an int32: from 2^31 on it hands over negative numbers, and wants them back.

function fromU32(number) {
    return number >>> 0;
}

function toU32(number) {
    return number | 0;
}

/** Values by key, and all that is wrong with the settings. */
function parse(settings) {
    const values = {};
    for (const key of Object.keys(KNOBS)) {
        values[key] = KNOBS[key].usual;
    }
    const issues = [];
    settings.forEach(({ key }, index) => {
        if (settings.slice(0, index).some((earlier) => earlier.key === key)) {
            issues.push({ key, message: "set twice" });
        }
    });
    for (const { key, value } of settings) {
        const message = problem(key, value);
        if (message === undefined) {
            values[key] = Number(value.val);
        } else {
            issues.push({ key, message });
        }
    }
    return { values, issues };
}

export const plugin = {
    describe() {
        return {
            name: "batched-js",
            version: "0.1.0",
            summary: "Holds whole batches: batch × ⌈least free fraction + pods ÷ batch⌉ addresses",
            settingsSchema: schema(),
            stateFormat: 0,
        };
    },

    checkSettings(settings) {
        return parse(settings).issues;
    },
};

export const warmPool = {
    decide({ context, pods }) {
        const { values, issues } = parse(context.settings);
        if (issues.length > 0) {
            const words = issues.map(({ key, message }) => `${key}: ${message}`);
            throw { tag: "settings", val: words.join("; ") };
        }
        const { batch, least_free_percent, release_after_secs } = values;
        // All of these stay far below 2^53, where numbers are exact.
        const demand = Math.min(fromU32(pods.bound) + fromU32(pods.waiting) + fromU32(pods.expected), LARGEST_U32);
        const hundredths = least_free_percent * batch + demand * 100;
        const total = Math.min(batch * Math.ceil(hundredths / (100 * batch)), LARGEST_U32);
        return {
            target: {
                readyLow: 0,
                readyHigh: 0,
                totalFloor: toU32(total),
                grain: "address",
                keepFree: 0,
                releaseAfterMs: release_after_secs * 1000,
                placement: "pack",
            },
            outcome: {
                reason: `${demand} pods ask for ${Math.floor(total / batch)} batches of ${batch}: ${total} addresses`,
                nextCheckMs: null,
                state: [],
                annotations: [],
            },
        };
    },
};
