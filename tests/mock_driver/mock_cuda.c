/* A mock of the NVIDIA driver library for tests of host logic where there is no GPU.
 *
 * Host memory plays device memory: granules are memfds and mapping them really maps. Every stream is a thread with a
 * queue, so work is asynchronous and ordered as on a GPU. Kernels do nothing, except the few named at the end of this
 * file. What passes here says that the host's side is right, never that GPU code is.
 *
 * Read from the environment by cuInit:
 *   COGNIWARE_MOCK_DEVICES=n           how many GPUs (1)
 *   COGNIWARE_MOCK_MEMORY=bytes        memory of each (1 GiB)
 *   COGNIWARE_MOCK_FAIL=f:nth:code,... call `nth` (from 1; -1: every call) of function f answers `code`. A code that
 *                                      a GPU cannot recover from sticks: all later calls answer it too.
 *   COGNIWARE_MOCK_TRACE=file          the name of every function called is appended there
 * In process: mock_fail(text) sets the faults anew, mock_live(kind) counts objects, mock_violations() counts misuse
 * that a real driver would not have answered, mock_calls(name) counts calls.
 * Functions are taken away by linking with a version script that makes them local (see mod.rs beside this file).
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int Result;
typedef unsigned long long u64;
typedef unsigned int u32;

enum { OK = 0, INVALID = 1, OOM = 2, NOT_INIT = 3, NO_DEVICE = 100, BAD_DEVICE = 101, BAD_IMAGE = 200, BAD_CONTEXT = 201,
       MAP_FAILED_ = 205, BAD_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, NOT_SUPPORTED = 801,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, BAD_RESOURCES = 915 };

enum { GRANULARITY = 2 << 20, MAX_DEVICES = 8, MAX_FAULTS = 128, MAX_NAMES = 256, SMS = 132, GROUP = 8 };

enum kind { K_CONTEXT = 1, K_STREAM, K_EVENT, K_MODULE, K_FUNCTION, K_GRAPH, K_EXEC, K_GREEN, K_DESC, K_PHYS, K_RANGE,
            K_MAPPING, K_HOST, K_TEXTURE, K_REGISTERED, K_COUNT };
static const char *const kind_names[K_COUNT] = { "", "context", "stream", "event", "module", "function", "graph",
    "exec", "green", "desc", "phys", "range", "mapping", "host", "texture",
    "registered" };

/* Every object starts so. Objects are never freed, so that the use of a dead one is seen. */
typedef struct Object { int kind, live; struct Object *next; } Object;

typedef struct { Object o; int device, retained; u32 peers; size_t persisting; } Context;
typedef struct { Object o; Context *context; u64 queued, done; double time; int captured; } Event;
typedef struct Op { struct Op *next; int what; u64 dst, src; size_t bytes; unsigned char value; void (*fn)(void *);
    void *data; Event *event; u64 ticket; int kernel, carveout; const char *name; u32 correlation; u64 args[4]; struct Graph *graph; } Op;
typedef struct Graph { Object o; Op *first, **last; size_t nodes; } Graph;
typedef struct { Object o; int device; u32 sms; u64 groups; int streams; } Green;
typedef struct { u64 base, bytes; float ratio; u32 hit, miss; } Window;
typedef union { Window window; u32 carveout; int cooperative; u64 pad[8]; } AttributeValue;
typedef struct { u32 id, pad; AttributeValue value; } LaunchAttribute;
typedef struct { Object o; Context *context; Green *green; int priority; Op *first, **last; u64 queued, done;
    Graph *capture; int broken; pthread_t thread; Window window; } Stream;
/* PTX tells its kernels and their parameters; of machine code the mock knows nothing. */
typedef struct { char name[64]; int count; size_t sizes[16]; } Entry;
typedef struct { Object o; Context *context; int entries; Entry entry[16]; } Module;
typedef struct { Object o; Module *module; int kernel; int max_shared; const Entry *entry; char name[64]; } Function;
typedef struct { u32 gx, gy, gz, bx, by, bz, shared; struct Stream *stream; const LaunchAttribute *attributes; u32 count; }
    LaunchConfig;
typedef struct { Object o; u32 sms; u64 groups; } Desc;
typedef struct { Object o; int device, fd, handles, mappings; size_t bytes, charged; ino_t inode; } Phys;
typedef struct { Object o; u64 address; size_t bytes; } Range;
typedef struct { Object o; u64 address; size_t bytes; Phys *phys; int access; u32 peers; } Mapping;
typedef struct { Object o; void *p; size_t bytes; } Host; /* also of registered memory */
typedef struct { Object o; u64 address; size_t width, height, pitch; int linear; } Texture;

typedef struct { u32 type; u32 handle_types; u32 location_type; int location; void *win32; unsigned char rest[8]; } Prop;
typedef struct { u32 location_type; int location; u32 flags; } Access;
typedef struct { u32 type; unsigned char padding[92]; u32 sms, min, alignment; u64 groups __attribute__((packed));
    unsigned char rest[28]; } Resource;
typedef struct { u32 result; void *a, *b; } Update;
typedef struct { u32 type; u64 address; u32 format, channels; size_t width, height, pitch; unsigned char rest[88];
    u32 flags; } ResourceView;
typedef struct { u32 address[3], filter, flags, anisotropy, mipmap; float rest[7]; int reserved[12]; } TextureSettings;

static pthread_mutex_t lock;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static Object *objects[K_COUNT];
static long live[K_COUNT], violations;
static int initialised, devices = 1, sticky, small_groups = 15;
static size_t memory = (size_t)1 << 30, used[MAX_DEVICES];
static Context *primary[MAX_DEVICES];
static __thread Context *current;
static struct { char name[64]; int nth, code; } faults[MAX_FAULTS];
static int fault_count;
static struct { const char *name; long calls; } names[MAX_NAMES];
static FILE *trace;

__attribute__((constructor)) static void start(void) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *make(int kind, size_t size) {
    Object *o = calloc(1, size);
    o->kind = kind;
    o->live = 1;
    o->next = objects[kind];
    objects[kind] = o;
    live[kind]++;
    return o;
}

static int is(const void *p, int kind) { return p && ((const Object *)p)->kind == kind && ((const Object *)p)->live; }

static void end(void *p) {
    Object *o = p;
    o->live = 0;
    live[o->kind]--;
}

static int sticks(int code) {
    return code == 214 || code == 220 || code == 700 || code == 702 || code == 710 || (code >= 714 && code <= 719);
}

void mock_fail(const char *text) {
    pthread_mutex_lock(&lock);
    fault_count = 0;
    sticky = 0;
    memset(names, 0, sizeof names);
    while (text && *text && fault_count < MAX_FAULTS) {
        int n = 0;
        if (sscanf(text, "%63[^:,]:%d:%d%n", faults[fault_count].name, &faults[fault_count].nth,
                   &faults[fault_count].code, &n) != 3)
            break;
        fault_count++;
        text += n;
        if (*text == ',') text++;
    }
    pthread_mutex_unlock(&lock);
}

long mock_live(const char *kind) {
    long sum = 0;
    pthread_mutex_lock(&lock);
    for (int k = 1; k < K_COUNT; k++)
        /* Kernels live and die with their module. */
        if (!strcmp(kind, "all") ? k != K_FUNCTION && k != K_DESC : !strcmp(kind, kind_names[k])) sum += live[k];
    pthread_mutex_unlock(&lock);
    return sum;
}

long mock_violations(void) { return violations; }

long mock_calls(const char *name) {
    long n = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_NAMES && names[i].name; i++)
        if (!strcmp(names[i].name, name)) n = names[i].calls;
    pthread_mutex_unlock(&lock);
    return n;
}

/* How often kernels whose names begin so were launched or captured. */
static struct { char name[64]; long n; } launches[MAX_NAMES];
long mock_launches(const char *prefix) {
    long n = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_NAMES && launches[i].name[0]; i++)
        if (!strncmp(launches[i].name, prefix, strlen(prefix))) n += launches[i].n;
    pthread_mutex_unlock(&lock);
    return n;
}

/* Counts the call and answers the injected fault, if there is one. */
static int enter(const char *name, int survives) {
    int code = 0, i = 0;
    pthread_mutex_lock(&lock);
    while (i < MAX_NAMES - 1 && names[i].name && strcmp(names[i].name, name)) i++;
    names[i].name = name;
    long nth = ++names[i].calls;
    if (trace) fprintf(trace, "%s\n", name), fflush(trace);
    for (int f = 0; f < fault_count && !code; f++)
        if (!strcmp(faults[f].name, name) && (faults[f].nth == -1 || faults[f].nth == nth)) code = faults[f].code;
    if (code && sticks(code)) sticky = code;
    if (!code && sticky && !survives) code = sticky;
    if (!code && !initialised && strcmp(name, "cuInit") && strcmp(name, "cuDriverGetVersion")) code = NOT_INIT;
    pthread_mutex_unlock(&lock);
    return code;
}

#define ENTER_(survives)                                 \
    do {                                                 \
        int code_ = enter(__func__, survives);           \
        if (code_) return code_;                         \
    } while (0)
#define ENTER ENTER_(0)
#define LOCKED(...)                     \
    do {                                \
        pthread_mutex_lock(&lock);      \
        Result r_ = OK;                 \
        do __VA_ARGS__ while (0);       \
        pthread_mutex_unlock(&lock);    \
        return r_;                      \
    } while (0)
#define FAIL(code) { r_ = (code); break; }

/* ---- device ------------------------------------------------------------------------------------------------ */

Result cuInit(u32 flags) {
    if (!initialised) {
        const char *s = getenv("COGNIWARE_MOCK_FAIL");
        if (s && !fault_count) mock_fail(s);
        if ((s = getenv("COGNIWARE_MOCK_DEVICES"))) devices = atoi(s) < MAX_DEVICES ? atoi(s) : MAX_DEVICES;
        if ((s = getenv("COGNIWARE_MOCK_MEMORY"))) memory = strtoull(s, NULL, 10);
        if ((s = getenv("COGNIWARE_MOCK_TRACE"))) trace = fopen(s, "a");
    }
    ENTER;
    if (flags) return INVALID;
    if (devices == 0) return NO_DEVICE;
    initialised = 1;
    return OK;
}

/* Before cuInit: what its environment variables say. */
void mock_configure(int count, u64 bytes) {
    devices = count;
    memory = bytes;
}

Result cuDriverGetVersion(int *v) { ENTER_(1); *v = 13000; return OK; }
Result cuDeviceGetCount(int *n) { ENTER_(1); *n = devices; return OK; }
Result cuDeviceGet(int *d, int n) { ENTER_(1); if (n < 0 || n >= devices) return BAD_DEVICE; *d = n; return OK; }

Result cuDeviceGetName(char *s, int n, int d) {
    ENTER_(1);
    if (d < 0 || d >= devices) return BAD_DEVICE;
    snprintf(s, (size_t)n, "Mock H200 (host memory) %d", d);
    return OK;
}

Result cuDeviceTotalMem_v2(size_t *b, int d) { ENTER_(1); (void)d; *b = memory; return OK; }

Result cuDeviceGetPCIBusId(char *s, int n, int d) { ENTER_(1); snprintf(s, (size_t)n, "FFFF:%02X:1F.7", d); return OK; }

Result cuDeviceGetByPCIBusId(int *d, const char *s) {
    ENTER_(1);
    u32 n;
    if (sscanf(s, "%*x:%x", &n) != 1 || (int)n >= devices) return BAD_DEVICE;
    *d = (int)n;
    return OK;
}

Result cuDeviceGetAttribute(int *v, int a, int d) {
    static const struct { int a, v; } table[] = { { 1, 1024 }, { 2, 1024 }, { 3, 1024 }, { 4, 64 }, { 5, 2147483647 },
        { 6, 65535 }, { 7, 65535 }, { 8, 49152 }, { 10, 32 }, { 12, 65536 }, { 13, 1980000 }, { 16, SMS }, { 18, 0 },
        { 31, 1 }, { 32, 1 }, { 36, 3201000 }, { 37, 6144 }, { 38, 62914560 }, { 39, 2048 }, { 40, 3 }, { 41, 1 },
        { 70, 131072 }, { 71, 65000 }, { 72, 2097120 }, { 75, 9 }, { 76, 0 }, { 78, 1 }, { 81, 233472 }, { 82, 65536 }, { 83, 1 }, { 97, 232448 }, { 102, 1 },
        { 103, 1 }, { 108, 31457280 }, { 109, 134217728 } };
    ENTER_(1);
    if (d < 0 || d >= devices) return BAD_DEVICE;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].a == a) { *v = table[i].v; return OK; }
    return INVALID;
}

/* ---- context ----------------------------------------------------------------------------------------------- */

Result cuDevicePrimaryCtxRetain(Context **c, int d) {
    ENTER;
    if (d < 0 || d >= devices) return BAD_DEVICE;
    LOCKED({
        if (!primary[d]) {
            primary[d] = make(K_CONTEXT, sizeof(Context));
            primary[d]->device = d;
        }
        primary[d]->retained++;
        *c = primary[d];
    });
}

Result cuDevicePrimaryCtxRelease_v2(int d) {
    ENTER;
    LOCKED({
        if (d < 0 || d >= devices || !primary[d]) FAIL(BAD_CONTEXT);
        if (--primary[d]->retained == 0) {
            end(primary[d]);
            primary[d] = NULL;
        }
    });
}

static void context_gone(int d);

/* Everything in the context goes, and the driver works again. Granules and ranges belong to no context. */
Result cuDevicePrimaryCtxReset_v2(int d) {
    ENTER_(1);
    if (d < 0 || d >= devices) return BAD_DEVICE;
    LOCKED({
        sticky = 0;
        context_gone(d);
    });
}

Result cuCtxSetCurrent(Context *c) { ENTER_(1); if (c && !is(c, K_CONTEXT)) return BAD_CONTEXT; current = c; return OK; }
Result cuCtxGetCurrent(Context **c) { ENTER_(1); *c = is(current, K_CONTEXT) ? current : NULL; return OK; }

#define CURRENT                                        \
    do {                                               \
        if (!is(current, K_CONTEXT)) return BAD_CONTEXT; \
    } while (0)

Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { ENTER; CURRENT; *least = 0; *greatest = -5; return OK; }

static size_t stack_limit = 1024;

Result cuCtxGetLimit(size_t *v, u32 limit) {
    ENTER;
    CURRENT;
    switch (limit) {
    case 0: *v = stack_limit; return OK;
    case 6: *v = current->persisting; return OK;
    default: return NOT_SUPPORTED;
    }
}

/* A GPU rounds up, and refuses what its threads cannot have. */
Result cuCtxSetLimit(u32 limit, size_t v) {
    ENTER;
    CURRENT;
    switch (limit) {
    case 0:
        if (v > 512 << 10) return INVALID;
        stack_limit = (v + 15) / 16 * 16;
        return OK;
    case 6:
        if (v > 31457280) return INVALID;
        current->persisting = v;
        return OK;
    default: return NOT_SUPPORTED;
    }
}

Result cuMemGetInfo_v2(size_t *f, size_t *t) {
    ENTER;
    CURRENT;
    LOCKED({ *f = memory - used[current->device]; *t = memory; });
}

/* ---- virtual memory management ----------------------------------------------------------------------------- */

Result cuMemGetAllocationGranularity(size_t *g, const Prop *p, u32 option) {
    ENTER; (void)option;
    if (p->type != 1 || p->location_type != 1) return INVALID;
    *g = GRANULARITY;
    return OK;
}

static void phys_unused(Phys *p) {
    if (p->handles || p->mappings) return;
    used[p->device] -= p->charged;
    close(p->fd);
    end(p);
}

Result cuMemCreate(u64 *h, size_t bytes, const Prop *p, u64 flags) {
    ENTER;
    if (!bytes || bytes % GRANULARITY || flags || p->location < 0 || p->location >= devices) return INVALID;
    LOCKED({
        if (used[p->location] + bytes > memory) FAIL(OOM);
        int fd = memfd_create("mock granule", MFD_CLOEXEC);
        struct stat st;
        if (fd < 0 || ftruncate(fd, (off_t)bytes) || fstat(fd, &st)) FAIL(OOM);
        Phys *o = make(K_PHYS, sizeof(Phys));
        o->device = p->location;
        o->fd = fd;
        o->handles = 1;
        o->bytes = o->charged = bytes;
        o->inode = st.st_ino;
        used[o->device] += bytes;
        *h = (u64)(uintptr_t)o;
    });
}

Result cuMemRelease(u64 h) {
    ENTER;
    LOCKED({
        Phys *p = (Phys *)(uintptr_t)h;
        if (!is(p, K_PHYS) || !p->handles) FAIL(INVALID);
        p->handles--;
        phys_unused(p);
    });
}

Result cuMemAddressReserve(u64 *a, size_t bytes, size_t alignment, u64 hint, u64 flags) {
    ENTER;
    (void)hint;
    if (!bytes || bytes % GRANULARITY || flags) return INVALID;
    if (alignment < GRANULARITY) alignment = GRANULARITY;
    char *p = mmap(NULL, bytes + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return OOM;
    char *start = (char *)(((uintptr_t)p + alignment - 1) / alignment * alignment);
    if (start > p) munmap(p, (size_t)(start - p));
    munmap(start + bytes, (size_t)(p + alignment - start));
    LOCKED({
        Range *r = make(K_RANGE, sizeof(Range));
        r->address = (u64)(uintptr_t)start;
        r->bytes = bytes;
        *a = r->address;
    });
}

static Range *range_of(u64 a, size_t bytes) {
    for (Object *o = objects[K_RANGE]; o; o = o->next) {
        Range *r = (Range *)o;
        if (o->live && a >= r->address && a + bytes <= r->address + r->bytes) return r;
    }
    return NULL;
}

static Mapping *mapping_at(u64 a, size_t bytes) {
    for (Object *o = objects[K_MAPPING]; o; o = o->next) {
        Mapping *m = (Mapping *)o;
        if (o->live && a < m->address + m->bytes && m->address < a + bytes) return m;
    }
    return NULL;
}

Result cuMemAddressFree(u64 a, size_t bytes) {
    ENTER;
    LOCKED({
        Range *r = range_of(a, bytes);
        if (!r || r->address != a || r->bytes != bytes || mapping_at(a, bytes)) FAIL(INVALID);
        munmap((void *)(uintptr_t)a, bytes);
        end(r);
    });
}

Result cuMemMap(u64 a, size_t bytes, size_t offset, u64 h, u64 flags) {
    ENTER;
    LOCKED({
        Phys *p = (Phys *)(uintptr_t)h;
        if (offset || flags || !is(p, K_PHYS) || !p->handles || bytes != p->bytes || a % GRANULARITY
            || !range_of(a, bytes) || mapping_at(a, bytes)) FAIL(INVALID);
        if (mmap((void *)(uintptr_t)a, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, p->fd, 0) == MAP_FAILED) FAIL(MAP_FAILED_);
        Mapping *m = make(K_MAPPING, sizeof(Mapping));
        m->address = a;
        m->bytes = bytes;
        m->phys = p;
        p->mappings++;
    });
}

Result cuMemSetAccess(u64 a, size_t bytes, const Access *access, size_t n) {
    ENTER;
    LOCKED({
        int own = -1;
        for (size_t i = 0; i < n; i++)
            if (access[i].flags > 3 || access[i].flags == 2 || access[i].location < 0 || access[i].location >= devices) r_ = INVALID;
        if (r_ || !n) FAIL(INVALID);
        for (u64 at = a; at < a + bytes && !r_;) {
            Mapping *m = mapping_at(at, 1);
            if (!m || m->address != at || at + m->bytes > a + bytes) { r_ = INVALID; break; }
            for (size_t i = 0; i < n; i++) {
                if (access[i].location == m->phys->device) own = (int)i;
                else m->peers = access[i].flags ? m->peers | 1u << access[i].location : m->peers & ~(1u << access[i].location);
            }
            if (own >= 0) {
                m->access = (int)access[own].flags;
                mprotect((void *)(uintptr_t)at, m->bytes, m->access == 3 ? PROT_READ | PROT_WRITE : PROT_READ);
            }
            at += m->bytes;
        }
    });
}

Result cuMemUnmap(u64 a, size_t bytes) {
    ENTER;
    LOCKED({
        Mapping *m = mapping_at(a, bytes);
        if (!m || m->address != a || m->bytes != bytes) FAIL(INVALID);
        if (mmap((void *)(uintptr_t)a, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)
            == MAP_FAILED) FAIL(206);
        m->phys->mappings--;
        phys_unused(m->phys);
        end(m);
    });
}

Result cuMemExportToShareableHandle(void *out, u64 h, u32 kind, u64 flags) {
    ENTER;
    LOCKED({
        Phys *p = (Phys *)(uintptr_t)h;
        if (!is(p, K_PHYS) || !p->handles || kind != 1 || flags) FAIL(INVALID);
        int fd = dup(p->fd);
        if (fd < 0) FAIL(304);
        *(int *)out = fd;
    });
}

Result cuMemImportFromShareableHandle(u64 *h, void *os, u32 kind) {
    ENTER;
    CURRENT;
    LOCKED({
        struct stat st;
        int fd = (int)(intptr_t)os;
        if (kind != 1 || fstat(fd, &st)) FAIL(INVALID);
        for (Object *o = objects[K_PHYS]; o; o = o->next) {
            Phys *p = (Phys *)o;
            if (o->live && p->inode == st.st_ino) {
                p->handles++;
                *h = (u64)(uintptr_t)p;
                break;
            }
        }
        if (!r_ && !*h) { /* another process's granule: it is charged there */
            Phys *p = make(K_PHYS, sizeof(Phys));
            p->device = current->device;
            p->fd = dup(fd);
            p->handles = 1;
            p->bytes = (size_t)st.st_size;
            p->inode = st.st_ino;
            *h = (u64)(uintptr_t)p;
        }
    });
}

Result cuMemHostAlloc(void **p, size_t bytes, u32 flags) {
    ENTER;
    CURRENT;
    (void)flags;
    void *q = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!q) return OOM;
    LOCKED({
        Host *h = make(K_HOST, sizeof(Host));
        h->p = *p = q;
        h->bytes = bytes;
        memset(q, 0xA5, bytes);
    });
}

Result cuMemFreeHost(void *p) {
    ENTER;
    LOCKED({
        Object *o = objects[K_HOST];
        while (o && !(o->live && ((Host *)o)->p == p)) o = o->next;
        if (!o) FAIL(INVALID);
        free(p);
        end(o);
    });
}

static Host *registered_at(u64 a) {
    for (Object *o = objects[K_REGISTERED]; o; o = o->next)
        if (o->live && a - (u64)(uintptr_t)((Host *)o)->p < ((Host *)o)->bytes) return (Host *)o;
    return NULL;
}

Result cuMemHostRegister_v2(void *p, size_t bytes, u32 flags) {
    ENTER;
    CURRENT;
    if (!p || !bytes || (uintptr_t)p % 4096 || bytes % 4096 || flags != 3) return INVALID;
    LOCKED({
        if (registered_at((u64)(uintptr_t)p)) FAIL(712);
        Host *h = make(K_REGISTERED, sizeof(Host));
        h->p = p;
        h->bytes = bytes;
    });
}

Result cuMemHostUnregister(void *p) {
    ENTER;
    LOCKED({
        Host *h = registered_at((u64)(uintptr_t)p);
        unsigned char there;
        if (!h || h->p != p) FAIL(713);
        /* The memory must still be there. */
        if (mincore(p, 4096, &there)) violations++;
        end(h);
    });
}

Result cuMemHostGetDevicePointer_v2(u64 *d, void *p, u32 flags) {
    ENTER;
    LOCKED({
        if (flags || !registered_at((u64)(uintptr_t)p)) FAIL(INVALID);
        *d = (u64)(uintptr_t)p;
    });
}

static int accessible(u64 a, size_t bytes, int access);

/* Rows of one float over linear memory, clamped, places in elements. */
Result cuTexObjectCreate(u64 *t, const ResourceView *r, const TextureSettings *s, const void *view) {
    ENTER;
    CURRENT;
    LOCKED({
        if (view || r->type != 3 || r->format != 0x20 || r->channels != 1 || r->flags || r->address % 512 || r->pitch % 32
            || r->pitch < r->width * 4 || !r->width || !r->height || r->width > 131072 || r->height > 65000
            || s->address[0] != 1 || s->address[1] != 1 || s->filter > 1 || s->flags) FAIL(INVALID);
        if (!range_of(r->address, 1) || !accessible(r->address, r->pitch * (r->height - 1) + r->width * 4, 1)) FAIL(INVALID);
        Texture *o = make(K_TEXTURE, sizeof(Texture));
        o->address = r->address;
        o->width = r->width;
        o->height = r->height;
        o->pitch = r->pitch;
        o->linear = (int)s->filter;
        *t = (u64)(uintptr_t)o;
    });
}

Result cuTexObjectDestroy(u64 t) {
    ENTER;
    LOCKED({
        if (!is((void *)(uintptr_t)t, K_TEXTURE)) FAIL(INVALID);
        end((void *)(uintptr_t)t);
    });
}

Result cuPointerGetAttribute(void *out, int a, u64 p) {
    ENTER;
    LOCKED({
        Mapping *m = mapping_at(p, 1);
        int pinned = 0;
        for (Object *o = objects[K_HOST]; o; o = o->next)
            if (o->live && p - (u64)(uintptr_t)((Host *)o)->p < ((Host *)o)->bytes) pinned = 1;
        if (registered_at(p)) pinned = 1;
        if (!m && !pinned) FAIL(INVALID);
        if (a == 2) *(u32 *)out = m ? 2 : 1;
        else if (a == 9) *(int *)out = m ? m->phys->device : 0;
        else FAIL(INVALID);
    });
}

/* ---- allocations of the driver itself ---------------------------------------------------------------------- */

/* A granule of its own, in a range of its own. */
Result cuMemAlloc_v2(u64 *a, size_t bytes) {
    ENTER;
    CURRENT;
    if (!bytes) return INVALID;
    bytes = (bytes + 511) / 512 * 512;
    LOCKED({
        if (used[current->device] + bytes > memory) FAIL(OOM);
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) FAIL(OOM);
        memset(p, 0xD1, bytes); /* What somebody left there. */
        Phys *o = make(K_PHYS, sizeof(Phys));
        Range *r = make(K_RANGE, sizeof(Range));
        Mapping *m = make(K_MAPPING, sizeof(Mapping));
        o->device = current->device;
        o->fd = -1;
        o->mappings = 1;
        o->bytes = o->charged = r->bytes = m->bytes = bytes;
        used[o->device] += bytes;
        *a = r->address = m->address = (u64)(uintptr_t)p;
        m->phys = o;
        m->access = 3;
    });
}

/* With the lock held. */
static Result linear_free(u64 a) {
    Mapping *m = mapping_at(a, 1);
    if (!m || m->address != a || m->phys->fd != -1) return INVALID;
    munmap((void *)(uintptr_t)a, m->bytes);
    end(range_of(a, m->bytes));
    used[m->phys->device] -= m->phys->charged;
    end(m->phys);
    end(m);
    return OK;
}

Result cuMemFree_v2(u64 a) {
    ENTER;
    CURRENT;
    LOCKED({
        for (Object *o = objects[K_STREAM]; o; o = o->next) {
            Stream *s = (Stream *)o;
            u64 target = s->queued;
            if (s->context->device != current->device) continue;
            while (s->done < target) pthread_cond_wait(&changed, &lock);
        }
        r_ = linear_free(a);
    });
}

/* Ordered on a stream as on a GPU only as far as the caller can tell: the bytes are there at once. */
Result cuMemAllocAsync(u64 *a, size_t bytes, Stream *s) {
    ENTER;
    if (!is(s, K_STREAM)) return BAD_HANDLE;
    return cuMemAlloc_v2(a, bytes);
}

Result cuMemFreeAsync(u64 a, Stream *s) {
    ENTER;
    if (!is(s, K_STREAM)) return BAD_HANDLE;
    return cuMemFree_v2(a);
}

/* ---- peers ------------------------------------------------------------------------------------------------- */

Result cuDeviceCanAccessPeer(int *can, int a, int b) {
    ENTER;
    if (a < 0 || a >= devices || b < 0 || b >= devices) return BAD_DEVICE;
    *can = a != b;
    return OK;
}

Result cuCtxEnablePeerAccess(Context *peer, u32 flags) {
    ENTER;
    CURRENT;
    if (flags || !is(peer, K_CONTEXT) || peer == current) return INVALID;
    LOCKED({
        if (current->peers >> peer->device & 1) FAIL(704);
        current->peers |= 1u << peer->device;
    });
}

Result cuCtxDisablePeerAccess(Context *peer) {
    ENTER;
    CURRENT;
    if (!is(peer, K_CONTEXT)) return INVALID;
    LOCKED({
        if (!(current->peers >> peer->device & 1)) FAIL(705);
        current->peers &= ~(1u << peer->device);
    });
}

/* How many mappings GPU `b` may use beside their own. */
long mock_peer_mappings(int b) {
    long n = 0;
    pthread_mutex_lock(&lock);
    for (Object *o = objects[K_MAPPING]; o; o = o->next)
        if (o->live && ((Mapping *)o)->peers >> b & 1) n++;
    pthread_mutex_unlock(&lock);
    return n;
}

/* ---- streams ----------------------------------------------------------------------------------------------- */

enum { OP_COPY, OP_FILL, OP_HOST, OP_RECORD, OP_WAIT, OP_KERNEL, OP_GRAPH };

static void run_kernel(const Op *op);

/* A tool that watches, as CUPTI does: `queued` is called where work is queued, on that thread; `ran` behind its run (what:
   an operation above; times of the host's clock). */
static void (*watch_queued)(u32 correlation);
static void (*watch_ran)(u32 correlation, int what, const char *name, u64 bytes, int way, u64 start, u64 end);

void mock_watch(void (*queued)(u32), void (*ran)(u32, int, const char *, u64, int, u64, u64)) {
    watch_queued = queued;
    watch_ran = ran;
}

static u64 host_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static int on_device(u64 a) {
    for (Object *o = objects[K_RANGE]; o; o = o->next)
        if (o->live && a - ((Range *)o)->address < ((Range *)o)->bytes) return 1;
    return 0;
}

static void run_op(Op *op, u32 correlation);

static void run(Op *op, u32 correlation) {
    int seen = watch_ran && (op->what == OP_COPY || op->what == OP_FILL || op->what == OP_KERNEL), way = 0;
    if (seen && op->what == OP_COPY) {
        pthread_mutex_lock(&lock);
        way = on_device(op->dst) ? (on_device(op->src) ? 8 : 1) : on_device(op->src) ? 2 : 9;
        pthread_mutex_unlock(&lock);
    }
    u64 start = seen ? host_clock() : 0;
    run_op(op, correlation);
    if (seen) watch_ran(correlation, op->what, op->name, op->bytes, way, start, host_clock());
}

static void run_op(Op *op, u32 correlation) {
    switch (op->what) {
    case OP_COPY: memmove((void *)(uintptr_t)op->dst, (void *)(uintptr_t)op->src, op->bytes); break;
    case OP_FILL: memset((void *)(uintptr_t)op->dst, op->value, op->bytes); break;
    case OP_HOST: op->fn(op->data); break;
    case OP_KERNEL: run_kernel(op); break;
    case OP_GRAPH:
        for (Op *inner = op->graph->first; inner; inner = inner->next) run(inner, correlation);
        break;
    case OP_RECORD:
        pthread_mutex_lock(&lock);
        if (op->event->done < op->ticket) {
            op->event->done = op->ticket;
            op->event->time = now();
        }
        pthread_mutex_unlock(&lock);
        break;
    case OP_WAIT:
        pthread_mutex_lock(&lock);
        while (op->event->done < op->ticket) pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        break;
    }
}

static void *work(void *p) {
    Stream *s = p;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!s->first && s->o.live) pthread_cond_wait(&changed, &lock);
        if (!s->first) break;
        Op *op = s->first;
        if (!(s->first = op->next)) s->last = &s->first;
        pthread_mutex_unlock(&lock);
        run(op, op->correlation);
        free(op);
        pthread_mutex_lock(&lock);
        s->done++;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static Op *op_new(int what) {
    Op *op = calloc(1, sizeof(Op));
    op->what = what;
    return op;
}

/* With the lock held. */
static void queue(Stream *s, Op *op) {
    if (s->capture) {
        *s->capture->last = op;
        s->capture->last = &op->next;
        s->capture->nodes++;
        return;
    }
    static u32 correlations;
    op->correlation = ++correlations;
    if (watch_queued) watch_queued(op->correlation);
    *s->last = op;
    s->last = &op->next;
    s->queued++;
    pthread_cond_broadcast(&changed);
}

static Result stream_new(Stream **out, Context *c, Green *g, u32 flags, int priority) {
    if (flags > 1 || priority > 0 || priority < -5) return INVALID;
    pthread_mutex_lock(&lock);
    Stream *s = make(K_STREAM, sizeof(Stream));
    s->context = c;
    s->green = g;
    s->priority = priority;
    s->last = &s->first;
    if (g) g->streams++;
    pthread_create(&s->thread, NULL, work, s);
    pthread_detach(s->thread);
    *out = s;
    pthread_mutex_unlock(&lock);
    return OK;
}

Result cuStreamCreateWithPriority(Stream **s, u32 flags, int priority) {
    ENTER;
    CURRENT;
    return stream_new(s, current, NULL, flags, priority);
}

#define STREAM(s)                                  \
    do {                                           \
        CURRENT;                                   \
        if (!is(s, K_STREAM)) return BAD_HANDLE;   \
    } while (0)

Result cuStreamDestroy_v2(Stream *s) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (s->green) s->green->streams--;
        if (s->capture) violations++;
        end(s);
        pthread_cond_broadcast(&changed);
    });
}

/* With the lock held. */
static void context_gone(int d) {
    for (int k = K_CONTEXT; k < K_COUNT; k++) {
        if (k == K_PHYS || k == K_RANGE || k == K_MAPPING) continue;
        for (Object *o = objects[k]; o; o = o->next) {
            if (!o->live || (k == K_CONTEXT && ((Context *)o)->device != d)
                || (k == K_STREAM && ((Stream *)o)->context->device != d)
                || (k == K_GREEN && ((Green *)o)->device != d)) continue;
            end(o);
        }
    }
    primary[d] = NULL;
    pthread_cond_broadcast(&changed);
}

Result cuStreamSynchronize(Stream *s) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (s->capture) {
            s->broken = 1;
            FAIL(CAPTURE_UNSUPPORTED);
        }
        u64 target = s->queued;
        while (s->done < target) pthread_cond_wait(&changed, &lock);
        r_ = sticky;
    });
}

Result cuStreamQuery(Stream *s) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (s->capture) {
            s->broken = 1;
            FAIL(CAPTURE_UNSUPPORTED);
        }
        r_ = s->done < s->queued ? NOT_READY : OK;
    });
}

Result cuCtxSynchronize(void) {
    ENTER;
    CURRENT;
    LOCKED({
        for (Object *o = objects[K_STREAM]; o; o = o->next) {
            Stream *s = (Stream *)o;
            u64 target = s->queued;
            if (s->context->device != current->device) continue;
            while (s->done < target) pthread_cond_wait(&changed, &lock);
        }
    });
}

Result cuLaunchHostFunc(Stream *s, void (*fn)(void *), void *data) {
    ENTER;
    STREAM(s);
    LOCKED({
        Op *op = op_new(OP_HOST);
        op->fn = fn;
        op->data = data;
        queue(s, op);
    });
}

/* A range that is reserved must be mapped, and for a destination writable. */
static int accessible(u64 a, size_t bytes, int access) {
    if (!a) return 0;
    if (!range_of(a, 1)) return 1;
    for (u64 at = a; at < a + bytes;) {
        Mapping *m = mapping_at(at, 1);
        if (!m || (m->access & access) != access) return 0;
        at = m->address + m->bytes;
    }
    return 1;
}

Result cuMemcpyAsync(u64 dst, u64 src, size_t bytes, Stream *s) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (!accessible(dst, bytes, 3) || !accessible(src, bytes, 1)) FAIL(INVALID);
        Op *op = op_new(OP_COPY);
        op->dst = dst;
        op->src = src;
        op->bytes = bytes;
        queue(s, op);
    });
}

Result cuMemsetD8Async(u64 dst, unsigned char value, size_t bytes, Stream *s) {
    ENTER;
    STREAM(s);
    LOCKED({
        int host = registered_at(dst) != NULL;
        for (Object *o = objects[K_HOST]; o; o = o->next)
            if (o->live && dst - (u64)(uintptr_t)((Host *)o)->p < ((Host *)o)->bytes) host = 1;
        if (!host && (!range_of(dst, bytes) || !accessible(dst, bytes, 3))) FAIL(INVALID);
        Op *op = op_new(OP_FILL);
        op->dst = dst;
        op->value = value;
        op->bytes = bytes;
        queue(s, op);
    });
}

/* ---- events ------------------------------------------------------------------------------------------------ */

Result cuEventCreate(Event **e, u32 flags) {
    ENTER;
    CURRENT;
    (void)flags;
    LOCKED({
        *e = make(K_EVENT, sizeof(Event));
        (*e)->context = current;
    });
}

Result cuEventDestroy_v2(Event *e) { ENTER; if (!is(e, K_EVENT)) return BAD_HANDLE; LOCKED({ end(e); }); }

static Op *record(Event *e) {
    Op *op = op_new(OP_RECORD);
    op->event = e;
    op->ticket = ++e->queued;
    return op;
}

Result cuEventRecord(Event *e, Stream *s) {
    ENTER;
    STREAM(s);
    if (!is(e, K_EVENT) || e->context != s->context) return BAD_HANDLE;
    LOCKED({
        if (s->capture) e->captured = 1;
        else e->captured = 0, queue(s, record(e));
    });
}

Result cuEventQuery(Event *e) {
    ENTER;
    if (!is(e, K_EVENT)) return BAD_HANDLE;
    LOCKED({ r_ = e->captured ? 907 : e->done < e->queued ? NOT_READY : OK; });
}

Result cuEventSynchronize(Event *e) {
    ENTER;
    if (!is(e, K_EVENT)) return BAD_HANDLE;
    LOCKED({
        u64 target = e->queued;
        if (e->captured) FAIL(907);
        while (e->done < target) pthread_cond_wait(&changed, &lock);
    });
}

Result cuEventElapsedTime(float *ms, Event *a, Event *b) {
    ENTER;
    if (!is(a, K_EVENT) || !is(b, K_EVENT) || !a->queued || !b->queued) return BAD_HANDLE;
    LOCKED({
        if (a->done < a->queued || b->done < b->queued) FAIL(NOT_READY);
        *ms = (float)((b->time - a->time) * 1e3);
    });
}

Result cuStreamWaitEvent(Stream *s, Event *e, u32 flags) {
    ENTER;
    STREAM(s);
    if (!is(e, K_EVENT) || flags) return BAD_HANDLE;
    LOCKED({
        if (s->capture || e->captured) FAIL(CAPTURE_UNSUPPORTED); /* no forked captures here */
        if (e->queued == 0) break;
        Op *op = op_new(OP_WAIT);
        op->event = e;
        op->ticket = e->queued;
        queue(s, op);
    });
}

/* ---- cache and shared memory -------------------------------------------------------------------------------- */

Result cuCtxResetPersistingL2Cache(void) { ENTER; CURRENT; return OK; }

Result cuStreamSetAttribute(Stream *s, u32 attribute, const AttributeValue *value) {
    ENTER;
    STREAM(s);
    if (attribute != 1 || value->window.bytes > 134217728 || value->window.hit > 2 || value->window.miss > 1) return INVALID;
    if (value->window.ratio < 0 || value->window.ratio > 1) return INVALID;
    s->window = value->window;
    return OK;
}

Result cuStreamGetAttribute(Stream *s, u32 attribute, AttributeValue *value) {
    ENTER;
    STREAM(s);
    if (attribute != 1) return INVALID;
    value->window = s->window;
    return OK;
}

/* ---- graphs ------------------------------------------------------------------------------------------------ */

Result cuStreamIsCapturing(Stream *s, u32 *status) {
    ENTER;
    STREAM(s);
    *status = s->capture ? (s->broken ? 2 : 1) : 0;
    return OK;
}

Result cuStreamBeginCapture_v2(Stream *s, u32 mode) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (s->capture || mode > 2) FAIL(401);
        s->capture = make(K_GRAPH, sizeof(Graph));
        s->capture->last = &s->capture->first;
        s->broken = 0;
    });
}

Result cuStreamEndCapture(Stream *s, Graph **g) {
    ENTER;
    STREAM(s);
    LOCKED({
        if (!s->capture) FAIL(401);
        *g = s->capture;
        s->capture = NULL;
        if (s->broken) {
            end(*g);
            *g = NULL;
            FAIL(CAPTURE_INVALIDATED);
        }
    });
}

static Graph *copy_of(const Graph *g) {
    Graph *e = make(K_EXEC, sizeof(Graph));
    e->last = &e->first;
    for (const Op *op = g->first; op; op = op->next) {
        Op *c = malloc(sizeof(Op));
        *c = *op;
        c->next = NULL;
        *e->last = c;
        e->last = &c->next;
    }
    e->nodes = g->nodes;
    return e;
}

Result cuGraphInstantiateWithFlags(Graph **e, Graph *g, u64 flags) {
    ENTER;
    (void)flags;
    if (!is(g, K_GRAPH)) return BAD_HANDLE;
    LOCKED({ *e = copy_of(g); });
}

Result cuGraphGetNodes(Graph *g, void **nodes, size_t *n) {
    ENTER;
    if (!is(g, K_GRAPH)) return BAD_HANDLE;
    if (nodes) {
        size_t i = 0;
        for (Op *op = g->first; op && i < *n; op = op->next) nodes[i++] = op;
        *n = i;
        return OK;
    }
    *n = g->nodes;
    return OK;
}

Result cuGraphKernelNodeGetAttribute(Op *node, u32 attribute, AttributeValue *value) {
    ENTER;
    if (!node || node->what != OP_KERNEL || attribute != 14) return INVALID;
    value->carveout = (u32)node->carveout;
    return OK;
}

Result cuGraphUpload(Graph *e, Stream *s) { ENTER; STREAM(s); return is(e, K_EXEC) ? OK : BAD_HANDLE; }

Result cuGraphLaunch(Graph *e, Stream *s) {
    ENTER;
    STREAM(s);
    if (!is(e, K_EXEC)) return BAD_HANDLE;
    LOCKED({
        Op *op = op_new(OP_GRAPH);
        op->graph = e;
        queue(s, op);
    });
}

Result cuGraphExecUpdate_v2(Graph *e, Graph *g, Update *u) {
    ENTER;
    if (!is(e, K_EXEC) || !is(g, K_GRAPH)) return BAD_HANDLE;
    LOCKED({
        const Op *a = e->first;
        const Op *b = g->first;
        for (; a && b && a->what == b->what && a->kernel == b->kernel; a = a->next, b = b->next) {}
        u->result = a || b ? 1 : 0;
        if (a || b) FAIL(910);
        Op *c = e->first;
        for (b = g->first; b; b = b->next) {
            Op *next = c->next;
            *c = *b;
            c->next = next;
            c = next;
        }
    });
}

Result cuGraphExecDestroy(Graph *e) { ENTER; if (!is(e, K_EXEC)) return BAD_HANDLE; LOCKED({ end(e); }); }
Result cuGraphDestroy(Graph *g) { ENTER; if (!is(g, K_GRAPH)) return BAD_HANDLE; LOCKED({ end(g); }); }

/* ---- groups of SMs ----------------------------------------------------------------------------------------- */

Result cuDeviceGetDevResource(int d, Resource *r, u32 type) {
    ENTER;
    if (d < 0 || d >= devices || type != 1) return INVALID;
    memset(r, 0, sizeof *r);
    r->type = 1;
    r->sms = SMS;
    r->min = r->alignment = GROUP;
    return OK;
}

/* How many groups of 8 SMs there are: 15 (12 SMs left) as an H200 answers, or 16 (4 left). */
void mock_groups(int n) { small_groups = n; }

Result cuDevSmResourceSplitByCount(Resource *out, u32 *n, const Resource *in, Resource *rest, u32 flags, u32 min) {
    ENTER;
    u32 size = (min + GROUP - 1) / GROUP * GROUP, most = size ? in->sms / size : 0;
    if (size == GROUP) most = (u32)small_groups;
    if (in->type != 1 || flags || !size) return INVALID;
    if (!out) { *n = most; return OK; }
    if (*n > most) *n = most;
    for (u32 i = 0; i < *n; i++) {
        out[i] = *in;
        out[i].sms = size;
        out[i].groups = ((1ull << (size / GROUP)) - 1) << (i * size / GROUP);
    }
    if (rest) {
        *rest = *in;
        rest->sms = in->sms - *n * size;
        rest->groups = 1ull << 63;
    }
    return OK;
}

Result cuDevResourceGenerateDesc(Desc **d, Resource *r, u32 n) {
    ENTER;
    LOCKED({
        u64 groups = 0;
        u32 sms = 0;
        for (u32 i = 0; i < n; i++) {
            if (r[i].type != 1 || (groups & r[i].groups)) r_ = BAD_RESOURCES;
            groups |= r[i].groups;
            sms += r[i].sms;
        }
        if (r_ || !n) FAIL(BAD_RESOURCES);
        *d = make(K_DESC, sizeof(Desc));
        (*d)->sms = sms;
        (*d)->groups = groups;
    });
}

Result cuGreenCtxCreate(Green **g, Desc *d, int device, u32 flags) {
    ENTER;
    if (!is(d, K_DESC) || flags != 1) return INVALID;
    LOCKED({
        *g = make(K_GREEN, sizeof(Green));
        (*g)->device = device;
        (*g)->sms = d->sms;
        (*g)->groups = d->groups;
    });
}

Result cuGreenCtxDestroy(Green *g) {
    ENTER;
    if (!is(g, K_GREEN)) return BAD_HANDLE;
    LOCKED({
        if (g->streams) violations++;
        for (Object *o = objects[K_STREAM]; o; o = o->next)
            if (((Stream *)o)->green == g && ((Stream *)o)->done < ((Stream *)o)->queued) violations++;
        end(g);
    });
}

Result cuGreenCtxStreamCreate(Stream **s, Green *g, u32 flags, int priority) {
    ENTER;
    if (!is(g, K_GREEN) || !primary[g->device]) return BAD_HANDLE;
    return stream_new(s, primary[g->device], g, flags, priority);
}

Result cuGreenCtxRecordEvent(Green *g, Event *e) {
    ENTER;
    if (!is(g, K_GREEN) || !is(e, K_EVENT)) return BAD_HANDLE;
    /* Done when all its streams have run what they have; the mock waits for that here. */
    LOCKED({
        for (Object *o = objects[K_STREAM]; o; o = o->next) {
            Stream *s = (Stream *)o;
            u64 target = s->queued;
            while (s->green == g && s->done < target) pthread_cond_wait(&changed, &lock);
        }
        e->done = ++e->queued;
        e->time = now();
    });
}

/* ---- modules and kernels ----------------------------------------------------------------------------------- */

/* mock_fill(u64 address, u32 value, u32 count); mock_wait(u64 microseconds); cw_texture_sample(texture, places, values,
   u32 count); every other name does nothing. */
static const struct { const char *name; int args; int sizes[4]; } kernels[] = {
    { "", 0, { 0 } }, { "mock_fill", 3, { 8, 4, 4 } }, { "mock_wait", 1, { 8 } },
    { "cw_texture_sample", 4, { 8, 8, 8, 4 } } };

static float element(const Texture *t, long x, long y) {
    x = x < 0 ? 0 : x >= (long)t->width ? (long)t->width - 1 : x;
    y = y < 0 ? 0 : y >= (long)t->height ? (long)t->height - 1 : y;
    return ((const float *)(uintptr_t)(t->address + (u64)y * t->pitch))[x];
}

/* Written apart from the CPU device, so that the two can be compared. */
static float sample(const Texture *t, float x, float y) {
    if (!t->linear) return element(t, (long)floorf(x), (long)floorf(y));
    long i = (long)floorf(x - 0.5f), j = (long)floorf(y - 0.5f);
    float a = x - 0.5f - (float)i, b = y - 0.5f - (float)j, sum = 0;
    for (int k = 0; k < 4; k++)
        sum += (k & 1 ? a : 1 - a) * (k & 2 ? b : 1 - b) * element(t, i + (k & 1), j + (k >> 1));
    return sum;
}

static void run_kernel(const Op *op) {
    if (op->kernel == 1)
        for (u64 i = 0; i < op->args[2]; i++) ((u32 *)(uintptr_t)op->args[0])[i] = (u32)op->args[1];
    if (op->kernel == 2) usleep((u32)op->args[0]);
    if (op->kernel == 3) {
        const Texture *t = (const Texture *)(uintptr_t)op->args[0];
        const float *places = (const float *)(uintptr_t)op->args[1];
        if (!is(t, K_TEXTURE)) { violations++; return; }
        for (u32 i = 0; i < (u32)op->args[3]; i++)
            ((float *)(uintptr_t)op->args[2])[i] = sample(t, places[2 * i], places[2 * i + 1]);
    }
}

/* The kernels of PTX text: `.entry name ( .param .u64 a , .param .u32 b )`. */
static void read_entries(Module *m, const char *text) {
    for (const char *p = text; m->entries < 16 && (p = strstr(p, ".entry")); ) {
        Entry *e = &m->entry[m->entries];
        int used = 0;
        if (sscanf(p, ".entry %63[A-Za-z0-9_$]%n", e->name, &used) != 1) { p += 6; continue; }
        p += used;
        m->entries++;
        const char *end = strpbrk(p, "){");
        while (end && e->count < 16 && (p = strstr(p, ".param")) && p < end) {
            u32 bits = 0;
            if (sscanf(p, ".param .%*[a-z]%u", &bits) == 1) e->sizes[e->count++] = bits / 8;
            p += 6;
        }
        p = end;
        if (!p) break;
    }
}

Result cuModuleLoadData(Module **m, const void *image) {
    ENTER;
    CURRENT;
    if (memcmp(image, "\x7f" "ELF", 4) && memcmp(image, "\x50\xed\x55\xba", 4) && !strstr(image, ".version"))
        return BAD_IMAGE;
    if (*(const char *)image == '.' && strstr(image, "syntax_error")) return 218;
    LOCKED({
        *m = make(K_MODULE, sizeof(Module));
        (*m)->context = current;
        if (*(const char *)image != 0x7f && *(const char *)image != 0x50) read_entries(*m, image);
    });
}

/* Refuses PTX as the assembler does: with a log. */
Result cuModuleLoadDataEx(Module **m, const void *image, u32 n, u32 *options, void **values) {
    ENTER;
    CURRENT;
    char *log = NULL;
    for (u32 i = 0; i < n; i++)
        if (options[i] == 5) log = values[i];
    for (u32 i = 0; i < n; i++)
        if (options[i] == 6 && log && strstr(image, "syntax_error"))
            snprintf(log, (size_t)values[i], "ptxas application ptx input, line 2; fatal : near 'syntax_error'");
    return cuModuleLoadData(m, image);
}

Result cuModuleGetFunctionCount(u32 *n, Module *m) {
    ENTER;
    if (!is(m, K_MODULE)) return BAD_HANDLE;
    *n = (u32)m->entries;
    return OK;
}

Result cuModuleUnload(Module *m) { ENTER; if (!is(m, K_MODULE)) return BAD_HANDLE; LOCKED({ end(m); }); }

Result cuModuleGetFunction(Function **f, Module *m, const char *name) {
    ENTER;
    if (!is(m, K_MODULE)) return BAD_HANDLE;
    if (!strncmp(name, "missing", 7)) return NOT_FOUND;
    LOCKED({
        *f = make(K_FUNCTION, sizeof(Function));
        (*f)->module = m;
        (*f)->max_shared = 49152;
        strncpy((*f)->name, name, sizeof (*f)->name - 1);
        for (int i = 1; i < (int)(sizeof kernels / sizeof *kernels); i++)
            if (!strcmp(kernels[i].name, name)) (*f)->kernel = i;
        for (int i = 0; i < m->entries; i++)
            if (!strcmp(m->entry[i].name, name)) (*f)->entry = &m->entry[i];
    });
}

Result cuModuleEnumerateFunctions(Function **f, u32 n, Module *m) {
    ENTER;
    if (!is(m, K_MODULE)) return BAD_HANDLE;
    for (u32 i = 0; i < n; i++) f[i] = NULL;
    for (u32 i = 0; i < n && i < (u32)m->entries; i++) {
        int code = cuModuleGetFunction(&f[i], m, m->entry[i].name);
        if (code) return code;
    }
    return OK;
}

Result cuFuncGetName(const char **name, Function *f) {
    ENTER;
    if (!is(f, K_FUNCTION)) return BAD_HANDLE;
    *name = f->entry ? f->entry->name : "unknown";
    return OK;
}

Result cuFuncGetParamInfo(Function *f, size_t i, size_t *offset, size_t *bytes) {
    ENTER;
    if (!is(f, K_FUNCTION)) return BAD_HANDLE;
    if (!f->entry || i >= (size_t)f->entry->count) return INVALID;
    *offset = 8 * i;
    *bytes = f->entry->sizes[i];
    return OK;
}

Result cuModuleGetGlobal_v2(u64 *a, size_t *n, Module *m, const char *name) {
    ENTER; (void)a; (void)n; (void)m; (void)name;
    return NOT_FOUND;
}

Result cuFuncGetAttribute(int *v, int a, Function *f) {
    ENTER;
    if (!is(f, K_FUNCTION)) return BAD_HANDLE;
    *v = a == 0 ? 1024 : a == 4 ? 32 : a == 6 ? 90 : a == 8 ? f->max_shared : 0;
    return OK;
}

Result cuFuncSetAttribute(Function *f, int a, int v) {
    ENTER;
    if (!is(f, K_FUNCTION) || a != 8 || v < 0 || v > 232448) return INVALID;
    f->max_shared = v;
    return OK;
}

Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, Function *f, int threads, size_t shared) {
    ENTER;
    if (!is(f, K_FUNCTION) || threads <= 0) return INVALID;
    *n = 2048 / threads;
    if (shared && (int)(233472 / (shared + 1024)) < *n) *n = (int)(233472 / (shared + 1024));
    return OK;
}

static Result launch(Function *f, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 shared, Stream *s, void **args,
                     int carveout) {
    STREAM(s);
    if (!is(f, K_FUNCTION) || !is(f->module, K_MODULE)) return BAD_HANDLE;
    if (!gx || !gy || !gz || !bx || !by || !bz || (u64)bx * by * bz > 1024 || shared > (u32)f->max_shared) return INVALID;
    LOCKED({
        Op *op = op_new(OP_KERNEL);
        op->kernel = f->kernel;
        op->name = f->name;
        op->carveout = carveout;
        int n = 0;
        while (n < MAX_NAMES - 1 && launches[n].name[0] && strcmp(launches[n].name, f->name)) n++;
        strcpy(launches[n].name, f->name);
        launches[n].n++;
        for (int i = 0; i < kernels[f->kernel].args; i++) memcpy(&op->args[i], args[i], (size_t)kernels[f->kernel].sizes[i]);
        queue(s, op);
    });
}

Result cuLaunchKernel(Function *f, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 shared, Stream *s, void **args,
                      void **extra) {
    ENTER;
    if (extra) return INVALID;
    return launch(f, gx, gy, gz, bx, by, bz, shared, s, args, -1);
}

Result cuLaunchCooperativeKernel(Function *f, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 shared, Stream *s,
                                 void **args) {
    ENTER;
    return launch(f, gx, gy, gz, bx, by, bz, shared, s, args, -1);
}

Result cuLaunchKernelEx(const LaunchConfig *c, Function *f, void **args, void **extra) {
    ENTER;
    int carveout = -1;
    if (extra) return INVALID;
    for (u32 i = 0; i < c->count; i++) {
        const LaunchAttribute *a = &c->attributes[i];
        if (a->id == 2 && a->value.cooperative == 1) continue;
        if (a->id != 14 || a->value.carveout > 100) return INVALID;
        carveout = (int)a->value.carveout;
    }
    return launch(f, c->gx, c->gy, c->gz, c->bx, c->by, c->bz, c->shared, (Stream *)c->stream, args, carveout);
}
