// Text that grows.

#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "enid.h"

// Empty when it is all zeros.
struct text {
    char *bytes;
    size_t length;
    size_t room;
};

void text_add(struct text *text, const char *words);
void text_add_bytes(struct text *text, const void *bytes, size_t length);
void text_add_number(struct text *text, int64_t number);

// Hands the text over to an answer; the bindings free it.
enid_string_t text_finished(struct text text);

#endif
