/* A CUPTI for tests: records of what the mock driver queues and runs, laid out as the headers of CUPTI 13 have them.
 * FAKE_CUPTI names its manners:
 *   version17   an old version          enable35, enable39, enable999   refuses to record
 *   callbacks39 refuses a listener      deaf     never delivers         mute  never says whose a record is
 *   calls       says it only while calls are recorded too               late  its clock is a second off
 *   untimed     kernels have no times   unordered  says whose a record is behind it */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef struct { u32 size; u8 bytes[216]; } Record;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int enabled[64];
static Record *list;
static size_t count, room;
static __thread u64 pushed[16];
static __thread int depth;
static void (*request)(u8 **, size_t *, size_t *);
static void (*complete)(void *, u32, u8 *, size_t, size_t);

static int is(const char *manner) {
    const char *all = getenv("FAKE_CUPTI");
    return all && strstr(all, manner) != NULL;
}

static void put32(Record *r, size_t at, u32 value) { memcpy(r->bytes + at, &value, 4); }
static void put64(Record *r, size_t at, u64 value) { memcpy(r->bytes + at, &value, 8); }

/* With the lock held. */
static Record *add(u32 kind, u32 size) {
    if (count == room) list = realloc(list, (room = room ? 2 * room : 1024) * sizeof *list);
    Record *r = &list[count++];
    memset(r, 0, sizeof *r);
    r->size = size;
    put32(r, 0, kind);
    return r;
}

static u64 clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* ---- what the mock driver tells ----------------------------------------------------------------------------- */

void tool_queued(u32 correlation) {
    pthread_mutex_lock(&lock);
    if (enabled[39] && depth && !is("mute") && (!is("calls") || enabled[4])) {
        /* Somebody else's correlation of the same call comes too. */
        for (u32 kind = 3; kind <= 5; kind += 2) {
            Record *r = add(39, 24);
            put32(r, 4, kind);
            put64(r, 8, kind == 5 ? pushed[depth - 1] : 1);
            put32(r, 16, correlation);
        }
    }
    if (enabled[4]) add(4, 48);
    pthread_mutex_unlock(&lock);
}

void tool_ran(u32 correlation, int what, const char *name, u64 bytes, int way, u64 start, u64 end) {
    pthread_mutex_lock(&lock);
    if (is("late")) start += 1000000000u, end += 1000000000u;
    if (what == 5 && enabled[10]) { /* a kernel */
        Record *r = add(10, 216);
        if (!is("untimed")) put64(r, 16, start), put64(r, 24, end);
        put32(r, 92, correlation);
        put64(r, 104, (u64)(uintptr_t)name);
    }
    if (what == 0 && enabled[1]) { /* a copy */
        Record *r = add(1, 96);
        r->bytes[4] = (u8)way;
        put64(r, 8, bytes);
        put64(r, 16, start);
        put64(r, 24, end);
        put32(r, 44, correlation);
    }
    if (what == 1 && enabled[2]) { /* a fill */
        Record *r = add(2, 88);
        put64(r, 8, bytes);
        put64(r, 16, start);
        put64(r, 24, end);
        put32(r, 44, correlation);
    }
    pthread_mutex_unlock(&lock);
}

/* How many kinds are being recorded, and how deep this thread has pushed. */
int fake_enabled(void) {
    int n = 0;
    for (int i = 0; i < 64; i++) n += enabled[i];
    return n;
}

int fake_depth(void) { return depth; }

/* ---- CUPTI -------------------------------------------------------------------------------------------------- */

u32 cuptiGetVersion(u32 *version) { *version = is("version17") ? 17 : 130001; return 0; }
u32 cuptiGetTimestamp(u64 *timestamp) { *timestamp = clock_now(); return 0; }

u32 cuptiActivityRegisterCallbacks(void (*r)(u8 **, size_t *, size_t *), void (*c)(void *, u32, u8 *, size_t, size_t)) {
    if (is("callbacks39")) return 39;
    request = r;
    complete = c;
    return 0;
}

u32 cuptiActivityEnable(u32 kind) {
    if (is("enable35")) return 35;
    if (is("enable39")) return kind == 10 ? 39 : 0;
    if (is("enable999")) return 999;
    pthread_mutex_lock(&lock);
    enabled[kind] = 1;
    pthread_mutex_unlock(&lock);
    return 0;
}

u32 cuptiActivityDisable(u32 kind) {
    pthread_mutex_lock(&lock);
    int was = enabled[kind];
    enabled[kind] = 0;
    pthread_mutex_unlock(&lock);
    return was ? 0 : 21;
}

u32 cuptiActivityFlushAll(u32 flag) {
    if (flag) abort(); /* forced: incomplete records would be lost */
    pthread_mutex_lock(&lock);
    Record *all = list;
    size_t n = is("deaf") ? 0 : count, at = 0;
    list = NULL;
    count = room = 0;
    pthread_mutex_unlock(&lock);
    while (at < n) {
        u8 *buffer = NULL;
        size_t size = 0, used = 0, most = 99;
        request(&buffer, &size, &most);
        if (!buffer || most || size % 8 || (uintptr_t)buffer % 8) abort();
        for (; at < n && used + all[at].size <= size; at++) {
            const Record *r = &all[is("unordered") ? n - 1 - at : at];
            if (used + r->size > size) break;
            memcpy(buffer + used, r->bytes, r->size);
            used += r->size;
        }
        complete(NULL, 0, buffer, size, used);
    }
    free(all);
    return 0;
}

u32 cuptiActivityGetNextRecord(u8 *buffer, size_t valid, u8 **record) {
    size_t at = 0;
    if (*record) {
        u32 kind;
        memcpy(&kind, *record, 4);
        at = (size_t)(*record - buffer) + (kind == 10 ? 216 : kind == 1 ? 96 : kind == 2 ? 88 : kind == 39 ? 24 : 48);
    }
    if (at >= valid) return 12;
    *record = buffer + at;
    return 0;
}

u32 cuptiActivityPushExternalCorrelationId(u32 kind, u64 id) {
    if (kind != 5 || depth == 16) return 1;
    pushed[depth++] = id;
    return 0;
}

u32 cuptiActivityPopExternalCorrelationId(u32 kind, u64 *last) {
    if (kind != 5 || !depth) return 1;
    *last = pushed[--depth];
    return 0;
}
