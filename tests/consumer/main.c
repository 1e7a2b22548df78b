/* The C interface, as a user's C11 program sees it. */
#include <cogniware/cogniware.h>

#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            return 1;                                                                 \
        }                                                                             \
    } while (0)

static int dropped = 0;

static void drop(void* user_data) {
    (void)user_data;
    ++dropped;
}

static cw_status run(void* user_data, cw_task_context* context) {
    *(int*)user_data = 7;
    return cw_task_set_result(context, "done");
}

int main(void) {
    char text[512];
    size_t needed = 0;
    uint32_t version = 0;
    int number = 0;
    cw_tenant_config config;
    cw_tenant* tenant = NULL;
    cw_task* task = NULL;
    void* memory = NULL;

    CHECK(cw_version_number(&version) == CW_OK && version == CW_VERSION_NUMBER);
    CHECK(cw_tenant_config_default(&config) == CW_OK);
    config.memory_limit = 1 << 20;
    CHECK(cw_tenant_open("c", "cpu", &config, &tenant) == CW_OK);
    CHECK(cw_memory_alloc(tenant, 1u << 30, NULL, &memory) == CW_ERROR_QUOTA_EXCEEDED && memory == NULL);
    CHECK(cw_last_error(text, sizeof text, &needed) == CW_OK && strlen(text) + 1 == needed);
    CHECK(cw_memory_alloc(tenant, 1000, "c", &memory) == CW_OK && memory != NULL);
    CHECK(cw_memory_free(tenant, memory) == CW_OK && cw_memory_free(tenant, memory) != CW_OK);

    CHECK(cw_task_schedule(tenant, NULL, run, &number, drop, &task) == CW_OK);
    CHECK(cw_task_wait(task, -1) == CW_OK && number == 7);
    CHECK(cw_task_result(task, text, sizeof text, NULL) == CW_OK && strcmp(text, "done") == 0);
    CHECK(cw_task_free(task) == CW_OK && cw_task_free(task) == CW_ERROR_INVALID_ARGUMENT && dropped == 1);
    /* Drop runs when scheduling fails, too. */
    CHECK(cw_task_schedule(NULL, NULL, run, &number, drop, &task) != CW_OK && dropped == 2);
    CHECK(cw_tenant_close(tenant, NULL) == CW_OK);
    CHECK(cw_tenant_close(tenant, NULL) == CW_ERROR_INVALID_ARGUMENT);
    puts("consumer_c: passed");
    return 0;
}
