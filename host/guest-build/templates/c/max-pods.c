// {{summary}}.
//
// An instance answers one question and is gone, so nothing is freed here but what the bindings free.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enid.h"
#include "knobs.h"
#include "text.h"

enum { PODS_PER_VCPU, HOST_NETWORK, KNOBS };

static const struct knob KNOB[KNOBS] = {
    [PODS_PER_VCPU] = {"pods_per_vcpu", 1, 250, 20, "Pods that a vCPU may run at most."},
    [HOST_NETWORK] = {"host_network", 0, 32, 2, "Pods on the host's network, which need no address."},
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

static uint64_t less(uint64_t from, uint64_t taken) {
    return from > taken ? from - taken : 0;
}

static uint64_t at_most_u32(uint64_t number) {
    return number > UINT32_MAX ? UINT32_MAX : number;
}

// Addresses for pods: each ENI's first is its own, and in prefix mode the others are prefixes.
static uint64_t addresses(const exports_max_pods_snapshot_t *node) {
    uint64_t enis = less(node->max_enis, (uint64_t)node->reserved_enis + node->custom_networking);
    uint64_t each = node->mode == ENID_MODE_PREFIX ? 16 : 1;
    return at_most_u32(at_most_u32(enis * less(node->ipv4_per_eni, 1)) * each);
}

bool exports_max_pods_decide(exports_max_pods_snapshot_t *snapshot, exports_max_pods_proposal_t *ret,
                             exports_max_pods_failure_t *failure) {
    uint32_t values[KNOBS];
    const enid_list_setting_t *settings = &snapshot->context.settings;
    exports_plugin_list_issue_t issues = knobs_read(KNOB, KNOBS, settings->ptr, settings->len, values);
    if (issues.len > 0) {
        *failure = knobs_failure(issues);
        return false;
    }
    struct text words = {0};
    if (snapshot->mode == ENID_MODE_PREFIX && !snapshot->prefixes) {
        text_add(&words, "EC2 delegates no prefixes to ");
        text_add_bytes(&words, snapshot->instance_type.ptr, snapshot->instance_type.len);
        failure->tag = ENID_FAILURE_UNSUPPORTED;
        failure->val.unsupported = text_finished(words);
        return false;
    }
    uint64_t free = addresses(snapshot);
    uint64_t pods = at_most_u32(free + values[HOST_NETWORK]);
    uint64_t cap = at_most_u32((uint64_t)snapshot->vcpus * values[PODS_PER_VCPU]);
    if (snapshot->uncapped || pods <= cap) {
        ret->target = (uint32_t)pods;
        text_add_number(&words, (int64_t)free);
        text_add(&words, " addresses, and ");
        text_add_number(&words, values[HOST_NETWORK]);
        text_add(&words, " pods without one");
    } else {
        ret->target = (uint32_t)cap;
        text_add_number(&words, snapshot->vcpus);
        text_add(&words, " vCPUs, which is capped: addresses suffice for ");
        text_add_number(&words, (int64_t)pods);
    }
    ret->outcome = (enid_outcome_t){.reason = text_finished(words)};
    return true;
}
