#include "knobs.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

enid_string_t knobs_schema(const struct knob *knobs, size_t count) {
    struct text json = {0};
    text_add(&json, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (size_t index = 0; index < count; index++) {
        text_add(&json, index == 0 ? "\"" : ",\"");
        text_add(&json, knobs[index].key);
        text_add(&json, "\":{\"type\":\"integer\",\"minimum\":");
        text_add_number(&json, knobs[index].least);
        text_add(&json, ",\"maximum\":");
        text_add_number(&json, knobs[index].most);
        text_add(&json, ",\"default\":");
        text_add_number(&json, knobs[index].usual);
        text_add(&json, ",\"description\":\"");
        text_add(&json, knobs[index].about);
        text_add(&json, "\"}");
    }
    text_add(&json, "}}");
    return text_finished(json);
}

static bool same(const enid_string_t *one, const enid_string_t *other) {
    return one->len == other->len && (one->len == 0 || memcmp(one->ptr, other->ptr, one->len) == 0);
}

static bool is_set_before(const enid_setting_t *settings, size_t index) {
    for (size_t earlier = 0; earlier < index; earlier++) {
        if (same(&settings[earlier].key, &settings[index].key)) {
            return true;
        }
    }
    return false;
}

static size_t find(const struct knob *knobs, size_t count, const enid_string_t *key) {
    size_t index = 0;
    while (index < count &&
           !(key->len == strlen(knobs[index].key) && memcmp(key->ptr, knobs[index].key, key->len) == 0)) {
        index++;
    }
    return index;
}

static void complain(exports_plugin_list_issue_t *issues, const enid_string_t *key, struct text message) {
    exports_plugin_issue_t *larger = realloc(issues->ptr, (issues->len + 1) * sizeof *larger);
    if (larger == NULL) {
        __builtin_trap();
    }
    issues->ptr = larger;
    exports_plugin_issue_t *issue = &larger[issues->len++];
    enid_string_dup_n(&issue->key, (const char *)key->ptr, key->len);
    issue->message = text_finished(message);
}

exports_plugin_list_issue_t knobs_read(const struct knob *knobs, size_t count,
                                       const enid_setting_t *settings, size_t length, uint32_t *values) {
    exports_plugin_list_issue_t issues = {0};
    for (size_t index = 0; index < count; index++) {
        values[index] = knobs[index].usual;
    }
    for (size_t index = 0; index < length; index++) {
        const enid_setting_t *setting = &settings[index];
        size_t found = find(knobs, count, &setting->key);
        struct text message = {0};
        if (is_set_before(settings, index)) {
            text_add(&message, "set twice");
        } else if (found == count) {
            text_add(&message, "unknown setting, known are ");
            for (size_t known = 0; known < count; known++) {
                text_add(&message, known == 0 ? "" : ", ");
                text_add(&message, knobs[known].key);
            }
        } else if (setting->value.tag != ENID_VALUE_INT || setting->value.val.int_ < knobs[found].least ||
                   setting->value.val.int_ > knobs[found].most) {
            text_add(&message, "expected an integer from ");
            text_add_number(&message, knobs[found].least);
            text_add(&message, " to ");
            text_add_number(&message, knobs[found].most);
        } else {
            values[found] = (uint32_t)setting->value.val.int_;
            continue;
        }
        complain(&issues, &setting->key, message);
    }
    return issues;
}

enid_failure_t knobs_failure(exports_plugin_list_issue_t issues) {
    struct text words = {0};
    for (size_t index = 0; index < issues.len; index++) {
        text_add(&words, index == 0 ? "" : "; ");
        text_add_bytes(&words, issues.ptr[index].key.ptr, issues.ptr[index].key.len);
        text_add(&words, ": ");
        text_add_bytes(&words, issues.ptr[index].message.ptr, issues.ptr[index].message.len);
    }
    return (enid_failure_t){.tag = ENID_FAILURE_SETTINGS, .val.settings = text_finished(words)};
}
