/* A coroutine whose every step a tracer is told of. */
#ifndef GILPROBE_STEPS_H
#define GILPROBE_STEPS_H

#include "span.h"

extern PyType_Spec steps_spec;

#endif /* GILPROBE_STEPS_H */
