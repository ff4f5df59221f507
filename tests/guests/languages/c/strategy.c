// The strategy `batched` once more, in C: whole batches, batch * ceil(least free fraction + demand / batch).
//
// An instance answers one question and is gone, so nothing is freed here but what the bindings free.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enid.h"

// Settings

struct knob {
    const char *key;
    uint64_t least;
    uint64_t most;
    uint64_t usual;
};

enum { BATCH, LEAST_FREE_PERCENT, RELEASE_AFTER_SECS, KNOBS };

static const struct knob KNOB[KNOBS] = {
    [BATCH] = {"batch", 1, 256, 16},
    [LEAST_FREE_PERCENT] = {"least_free_percent", 0, 400, 50},
    [RELEASE_AFTER_SECS] = {"release_after_secs", 0, 86400, 60},
};

static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"batch\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":256,\"default\":16,"
    "\"description\":\"Addresses in a batch.\"},"
    "\"least_free_percent\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":400,\"default\":50,"
    "\"description\":\"Part of a batch that is always ready, in percent.\"},"
    "\"release_after_secs\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":86400,\"default\":60,"
    "\"description\":\"Seconds that an address must have been unused before it is given back.\"}}}";

// Bytes of a wrong text that a message shows.
#define SHOWN_BYTES 64

// Text that grows

struct text {
    char *bytes;
    size_t length;
    size_t room;
};

static void add_bytes(struct text *text, const void *bytes, size_t length) {
    if (length > text->room - text->length) {
        size_t room = text->room + length + 64;
        char *larger = realloc(text->bytes, room);
        if (larger == NULL) {
            __builtin_trap();
        }
        text->bytes = larger;
        text->room = room;
    }
    if (length > 0) {
        memcpy(text->bytes + text->length, bytes, length);
        text->length += length;
    }
}

static void add(struct text *text, const char *words) {
    add_bytes(text, words, strlen(words));
}

static void add_number(struct text *text, uint64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_bytes(text, digits + first, sizeof digits - first);
}

static void add_value(struct text *text, const enid_value_t *value) {
    switch (value->tag) {
    case ENID_VALUE_FLAG:
        add(text, value->val.flag ? "true" : "false");
        break;
    case ENID_VALUE_INT:
        if (value->val.int_ < 0) {
            add(text, "-");
            add_number(text, -(uint64_t)value->val.int_);
        } else {
            add_number(text, (uint64_t)value->val.int_);
        }
        break;
    default: {
        const enid_string_t *words = &value->val.text;
        size_t shown = words->len;
        if (shown > SHOWN_BYTES) {
            shown = SHOWN_BYTES;
            // Not in the middle of a character.
            while (shown > 0 && (words->ptr[shown] & 0xc0) == 0x80) {
                shown--;
            }
        }
        add(text, "`");
        add_bytes(text, words->ptr, shown);
        if (shown < words->len) {
            add(text, "…`, ");
            add_number(text, words->len);
            add(text, " bytes");
        } else {
            add(text, "`");
        }
    }
    }
}

// Hands the text over; the bindings free it.
static enid_string_t finished(struct text text) {
    return (enid_string_t){.ptr = (uint8_t *)text.bytes, .len = text.length};
}

// Settings, read

struct issues {
    exports_plugin_issue_t *list;
    size_t count;
};

static void complain(struct issues *issues, const enid_string_t *key, struct text message) {
    exports_plugin_issue_t *larger = realloc(issues->list, (issues->count + 1) * sizeof *larger);
    if (larger == NULL) {
        __builtin_trap();
    }
    issues->list = larger;
    exports_plugin_issue_t *issue = &larger[issues->count++];
    enid_string_dup_n(&issue->key, (const char *)key->ptr, key->len);
    issue->message = finished(message);
}

static bool same(const enid_string_t *one, const enid_string_t *other) {
    return one->len == other->len && (one->len == 0 || memcmp(one->ptr, other->ptr, one->len) == 0);
}

static void refuse_twice(const enid_list_setting_t *settings, struct issues *issues) {
    for (size_t index = 0; index < settings->len; index++) {
        for (size_t earlier = 0; earlier < index; earlier++) {
            if (same(&settings->ptr[earlier].key, &settings->ptr[index].key)) {
                struct text message = {0};
                add(&message, "set twice");
                complain(issues, &settings->ptr[index].key, message);
                break;
            }
        }
    }
}

static const struct knob *known(const enid_string_t *key) {
    for (size_t index = 0; index < KNOBS; index++) {
        const char *name = KNOB[index].key;
        if (key->len == strlen(name) && memcmp(key->ptr, name, key->len) == 0) {
            return &KNOB[index];
        }
    }
    return NULL;
}

// Reads all settings into `values`, and returns all that is wrong with them.
static struct issues parse(const enid_list_setting_t *settings, uint64_t values[KNOBS]) {
    struct issues issues = {0};
    for (size_t index = 0; index < KNOBS; index++) {
        values[index] = KNOB[index].usual;
    }
    refuse_twice(settings, &issues);
    for (size_t index = 0; index < settings->len; index++) {
        const enid_setting_t *setting = &settings->ptr[index];
        const struct knob *knob = known(&setting->key);
        struct text message = {0};
        if (knob == NULL) {
            add(&message, "unknown setting, known are ");
            for (size_t other = 0; other < KNOBS; other++) {
                add(&message, other == 0 ? "" : ", ");
                add(&message, KNOB[other].key);
            }
            complain(&issues, &setting->key, message);
            continue;
        }
        int64_t number = setting->value.tag == ENID_VALUE_INT ? setting->value.val.int_ : -1;
        if (number >= (int64_t)knob->least && number <= (int64_t)knob->most) {
            values[knob - KNOB] = (uint64_t)number;
            continue;
        }
        add(&message, "expected an integer from ");
        add_number(&message, knob->least);
        add(&message, " to ");
        add_number(&message, knob->most);
        add(&message, ", got ");
        add_value(&message, &setting->value);
        complain(&issues, &setting->key, message);
    }
    return issues;
}

// The contract

void exports_plugin_describe(exports_plugin_descriptor_t *descriptor) {
    enid_string_dup(&descriptor->name, "batched-c");
    enid_string_dup(&descriptor->version, "0.1.0");
    enid_string_dup(&descriptor->summary,
                    "Holds whole batches: batch × ⌈least free fraction + pods ÷ batch⌉ addresses");
    enid_string_dup(&descriptor->settings_schema, SCHEMA);
    descriptor->state_format = 0;
}

void exports_plugin_check_settings(exports_plugin_list_setting_t *settings, exports_plugin_list_issue_t *ret) {
    uint64_t values[KNOBS];
    const enid_list_setting_t given = {.ptr = settings->ptr, .len = settings->len};
    struct issues issues = parse(&given, values);
    ret->ptr = issues.list;
    ret->len = issues.count;
}

static uint32_t saturating_add(uint32_t one, uint32_t other) {
    return one > UINT32_MAX - other ? UINT32_MAX : one + other;
}

static uint32_t whole_batches(const uint64_t values[KNOBS], uint32_t demand) {
    uint64_t batch = values[BATCH];
    uint64_t hundredths = values[LEAST_FREE_PERCENT] * batch + (uint64_t)demand * 100;
    uint64_t total = batch * ((hundredths + 100 * batch - 1) / (100 * batch));
    return total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
}

bool exports_warm_pool_decide(exports_warm_pool_snapshot_t *snapshot, exports_warm_pool_proposal_t *ret,
                              exports_warm_pool_failure_t *failure) {
    uint64_t values[KNOBS];
    struct issues issues = parse(&snapshot->context.settings, values);
    if (issues.count > 0) {
        struct text words = {0};
        for (size_t index = 0; index < issues.count; index++) {
            const exports_plugin_issue_t *issue = &issues.list[index];
            add(&words, index == 0 ? "" : "; ");
            add_bytes(&words, issue->key.ptr, issue->key.len);
            add(&words, ": ");
            add_bytes(&words, issue->message.ptr, issue->message.len);
        }
        failure->tag = ENID_FAILURE_SETTINGS;
        failure->val.settings = finished(words);
        return false;
    }

    const exports_warm_pool_pod_counts_t *pods = &snapshot->pods;
    uint32_t demand = saturating_add(saturating_add(pods->bound, pods->waiting), pods->expected);
    uint32_t total = whole_batches(values, demand);
    ret->target = (exports_warm_pool_band_t){
        .ready_low = 0,
        .ready_high = {.is_some = true, .val = 0},
        .total_floor = total,
        .grain = EXPORTS_WARM_POOL_GRAIN_ADDRESS,
        .keep_free = 0,
        .release_after_ms = values[RELEASE_AFTER_SECS] * 1000,
        .placement = EXPORTS_WARM_POOL_PLACEMENT_PACK,
    };

    struct text reason = {0};
    add_number(&reason, demand);
    add(&reason, " pods ask for ");
    add_number(&reason, total / values[BATCH]);
    add(&reason, " batches of ");
    add_number(&reason, values[BATCH]);
    add(&reason, ": ");
    add_number(&reason, total);
    add(&reason, " addresses");
    ret->outcome = (enid_outcome_t){.reason = finished(reason)};
    return true;
}
