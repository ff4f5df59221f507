// {{summary}}.
//
// An instance answers one question and is gone, so nothing is freed here but what the bindings free.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enid.h"
#include "knobs.h"
#include "text.h"

enum { HEADROOM, PERCENT, KNOBS };

static const struct knob KNOB[KNOBS] = {
    [HEADROOM] = {"headroom", 0, 256, 3, "Addresses to hold ready however few pods there are."},
    [PERCENT] = {"percent", 0, 100, 10,
                 "Addresses to hold ready besides, in percent of the pods that have one."},
};

void exports_plugin_describe(exports_plugin_descriptor_t *descriptor) {
    enid_string_dup(&descriptor->name, "{{name}}");
    enid_string_dup(&descriptor->version, "0.1.0");
    enid_string_dup(&descriptor->summary, "{{summary}}");
    descriptor->settings_schema = knobs_schema(KNOB, KNOBS);
    descriptor->state_format = 0;
}

void exports_plugin_check_settings(exports_plugin_list_setting_t *settings, exports_plugin_list_issue_t *ret) {
    uint32_t values[KNOBS];
    *ret = knobs_read(KNOB, KNOBS, settings->ptr, settings->len, values);
}

static uint32_t saturating_add(uint32_t one, uint32_t other) {
    return one > UINT32_MAX - other ? UINT32_MAX : one + other;
}

bool exports_warm_pool_decide(exports_warm_pool_snapshot_t *snapshot, exports_warm_pool_proposal_t *ret,
                              exports_warm_pool_failure_t *failure) {
    uint32_t values[KNOBS];
    const enid_list_setting_t *settings = &snapshot->context.settings;
    exports_plugin_list_issue_t issues = knobs_read(KNOB, KNOBS, settings->ptr, settings->len, values);
    if (issues.len > 0) {
        *failure = knobs_failure(issues);
        return false;
    }
    uint32_t pods = snapshot->pods.bound;
    uint32_t share = (uint32_t)(((uint64_t)pods * values[PERCENT] + 99) / 100);
    uint32_t ready = saturating_add(values[HEADROOM], share);
    ret->target = (exports_warm_pool_band_t){
        .ready_low = ready,
        // Half as many again may stay: a pod that goes and comes back costs no call.
        .ready_high = {.is_some = true, .val = saturating_add(ready, ready / 2)},
        .total_floor = 0,
        .grain = snapshot->mode == ENID_MODE_PREFIX ? EXPORTS_WARM_POOL_GRAIN_PREFIX
                                                    : EXPORTS_WARM_POOL_GRAIN_ADDRESS,
        .keep_free = 0,
        .release_after_ms = 60000,
        .placement = EXPORTS_WARM_POOL_PLACEMENT_PACK,
    };

    struct text reason = {0};
    text_add_number(&reason, pods);
    text_add(&reason, " pods have an address: ");
    text_add_number(&reason, ready);
    text_add(&reason, " more are held ready");
    ret->outcome = (enid_outcome_t){.reason = text_finished(reason)};
    return true;
}
