// {{summary}}.
//
// An instance answers one question and is gone, so nothing is freed here but what the bindings free.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "enid.h"
#include "knobs.h"
#include "text.h"

enum { KEEP_FREE, FAILURE_COST, KNOBS };

static const struct knob KNOB[KNOBS] = {
    [KEEP_FREE] = {"keep_free", 0, 65536, 16, "Addresses to leave to others in every subnet."},
    [FAILURE_COST] = {"failure_cost", 0, 4096, 16,
                      "What a failure in the last ten minutes counts, in free addresses."},
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

static bool may_be_used(const enid_subnet_use_t *subnet) {
    return subnet->role != ENID_ROLE_TAG_EXCLUDED && subnet->cluster != ENID_CLUSTER_TAG_FOREIGN;
}

static uint32_t room(const enid_subnet_use_t *subnet, uint32_t failure_cost) {
    uint64_t cost = (uint64_t)subnet->recent_failures * failure_cost;
    return cost < subnet->free ? subnet->free - (uint32_t)cost : 0;
}

bool exports_subnet_selection_decide(exports_subnet_selection_snapshot_t *snapshot,
                                     exports_subnet_selection_proposal_t *ret,
                                     exports_subnet_selection_failure_t *failure) {
    uint32_t values[KNOBS];
    const enid_list_setting_t *settings = &snapshot->context.settings;
    exports_plugin_list_issue_t issues = knobs_read(KNOB, KNOBS, settings->ptr, settings->len, values);
    if (issues.len > 0) {
        *failure = knobs_failure(issues);
        return false;
    }
    size_t count = snapshot->candidates.len;
    uint64_t least = (uint64_t)snapshot->wanted + values[KEEP_FREE];
    exports_subnet_selection_ranked_t *ranked = calloc(count + 1, sizeof *ranked);
    if (ranked == NULL) {
        __builtin_trap();
    }
    size_t length = 0;
    for (size_t index = 0; index < count; index++) {
        const enid_subnet_use_t *subnet = &snapshot->candidates.ptr[index];
        if (!may_be_used(subnet) || subnet->free < least) {
            continue;
        }
        uint32_t weight = room(subnet, values[FAILURE_COST]);
        // There are at most 64. Of equals the first stays first.
        size_t place = length++;
        while (place > 0 && ranked[place - 1].weight < weight) {
            ranked[place] = ranked[place - 1];
            place--;
        }
        ranked[place] = (exports_subnet_selection_ranked_t){.candidate = (uint16_t)index, .weight = weight};
    }
    ret->target.ptr = ranked;
    ret->target.len = length;

    struct text reason = {0};
    text_add_number(&reason, (int64_t)length);
    text_add(&reason, " of ");
    text_add_number(&reason, (int64_t)count);
    text_add(&reason, " subnets have ");
    text_add_number(&reason, (int64_t)least);
    text_add(&reason, " addresses free");
    ret->outcome = (enid_outcome_t){.reason = text_finished(reason)};
    return true;
}
