// Counts what a program asks of the CUDA driver, whatever library it asks through. The driver loads this file where
// CUDA_INJECTION64_PATH names it; the counts, a line each, go to the file SYRINX_LAUNCHES when the program ends.
//
// CUPTI's declarations stand here, as its header has them, so that building needs no toolkit; its library is loaded when
// used: SYRINX_CUPTI names it.
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRIVER_API = 1, ENTER = 0, MOST = 4096 };

// CUpti_CallbackData as far as it is read.
typedef struct {
    int site;
    const char *function;
} Call;

typedef void (*Callback)(void *user, int domain, uint32_t id, const Call *call);

static _Atomic uint64_t counts[MOST];
static _Atomic(const char *) names[MOST];

static void count(void *user, int domain, uint32_t id, const Call *call) {
    (void)user;
    if (domain != DRIVER_API || call->site != ENTER || id >= MOST) return;
    names[id] = call->function;
    counts[id]++;
}

// What is asked of a GPU; the rest is about the driver itself.
static int tells(const char *name) {
    return strstr(name, "Launch") || strstr(name, "Memcpy") || strstr(name, "Memset") || strstr(name, "Synchronize");
}

static void tell(void) {
    const char *path = getenv("SYRINX_LAUNCHES");
    FILE *file = path ? fopen(path, "w") : stderr;
    if (!file) return;
    for (int id = 0; id < MOST; id++) {
        const char *name = names[id];
        if (name && tells(name)) fprintf(file, "%s %llu\n", name, (unsigned long long)counts[id]);
    }
    if (path) fclose(file);
}

int InitializeInjection(void) {
    const char *path = getenv("SYRINX_CUPTI");
    void *library = dlopen(path ? path : "libcupti.so", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "launches are not counted: %s\n", dlerror());
        return 0;
    }
    int (*subscribe)(void **, Callback, void *) = (int (*)(void **, Callback, void *))dlsym(library, "cuptiSubscribe");
    int (*enable)(uint32_t, void *, int) = (int (*)(uint32_t, void *, int))dlsym(library, "cuptiEnableDomain");
    void *subscriber = NULL;
    if (!subscribe || !enable || subscribe(&subscriber, count, NULL) || enable(1, subscriber, DRIVER_API)) {
        fprintf(stderr, "launches are not counted: CUPTI refuses\n");
        return 0;
    }
    atexit(tell);
    return 1;
}
