#include "text.h"

#include <stdlib.h>
#include <string.h>

void text_add_bytes(struct text *text, const void *bytes, size_t length) {
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

void text_add(struct text *text, const char *words) {
    text_add_bytes(text, words, strlen(words));
}

void text_add_number(struct text *text, int64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    // Negative numbers reach one further than positive ones.
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[--first] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    text_add(text, number < 0 ? "-" : "");
    text_add_bytes(text, digits + first, sizeof digits - first);
}

enid_string_t text_finished(struct text text) {
    return (enid_string_t){.ptr = (uint8_t *)text.bytes, .len = text.length};
}
