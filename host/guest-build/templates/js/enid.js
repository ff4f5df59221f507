// What every strategy needs: settings that are whole numbers, and u32 as the contract has it.

// The engine takes a u32 for an int32: from 2^31 on it hands over negative numbers, and wants them back.

export const LARGEST_U32 = 0xffff_ffff;

export function fromU32(number) {
    return number >>> 0;
}

export function toU32(number) {
    return Math.min(Math.max(number, 0), LARGEST_U32) | 0;
}

function shown({ tag, val }) {
    return tag === "text" ? `\`${[...val].slice(0, 64).join("")}\`` : String(val);
}

/** Settings by key: `{ least, most, usual, about }` each. */
export class Knobs {
    constructor(knobs) {
        this.knobs = new Map(Object.entries(knobs));
    }

    /** The JSON Schema that the host shows and checks. */
    schema() {
        const properties = {};
        for (const [key, { least, most, usual, about }] of this.knobs) {
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

    /** All that is wrong with the settings. */
    check(settings) {
        const seen = new Set();
        const issues = [];
        for (const { key, value } of settings) {
            const knob = this.knobs.get(key);
            if (seen.has(key)) {
                issues.push({ key, message: "set twice" });
            } else if (knob === undefined) {
                const known = [...this.knobs.keys()].join(", ");
                issues.push({ key, message: `unknown setting, known are ${known}` });
            } else if (value.tag !== "int" || value.val < knob.least || value.val > knob.most) {
                const range = `${knob.least} to ${knob.most}`;
                issues.push({ key, message: `expected an integer from ${range}, got ${shown(value)}` });
            }
            seen.add(key);
        }
        return issues;
    }

    /** Values by key; throws the failure that the contract has for wrong settings. */
    read(settings) {
        const issues = this.check(settings);
        if (issues.length > 0) {
            throw { tag: "settings", val: issues.map(({ key, message }) => `${key}: ${message}`).join("; ") };
        }
        const values = {};
        for (const [key, { usual }] of this.knobs) {
            values[key] = usual;
        }
        for (const { key, value } of settings) {
            values[key] = value.val;
        }
        return values;
    }
}

/** What comes with a target that needs no more than a reason. */
export function because(reason) {
    return { reason, nextCheckMs: null, state: [], annotations: [] };
}
