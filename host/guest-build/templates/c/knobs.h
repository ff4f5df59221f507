// Settings that are whole numbers.

#ifndef KNOBS_H
#define KNOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enid.h"

struct knob {
    const char *key;
    uint32_t least;
    uint32_t most;
    uint32_t usual;
    // What it is, in words without quotes or backslashes.
    const char *about;
};

// The JSON Schema that the host shows and checks.
enid_string_t knobs_schema(const struct knob *knobs, size_t count);

// Reads one value per knob; answers with all that is wrong with the settings.
exports_plugin_list_issue_t knobs_read(const struct knob *knobs, size_t count,
                                       const enid_setting_t *settings, size_t length, uint32_t *values);

// The failure that the contract has for wrong settings.
enid_failure_t knobs_failure(exports_plugin_list_issue_t issues);

#endif
