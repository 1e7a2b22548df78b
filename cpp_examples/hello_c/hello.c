/* Four language models at once on one device, each inside its own memory quota and on its own compute node. */
#include <cogniware/cogniware.h>

#include <stdio.h>
#include <stdlib.h>

enum { LLMS = 4 };

/* Ends the program with the reason when a call failed. */
static void check(cw_status status) {
    char text[1024];
    if (status != CW_OK) {
        /* A text that does not fit is cut, which is good enough here. */
        (void)cw_last_error(text, sizeof text, NULL);
        fprintf(stderr, "hello_c: %s\n", text);
        exit(1);
    }
}

int main(int argc, char** argv) {
    const char* file = argc > 1 ? argv[1] : NULL; /* NULL: the small model that ships with Cogniware */
    const char* questions[LLMS] = {"Tell me a story about a fox.", "Write a short poem about the sea.",
                                   "What is a river?", "Explain how several models can share one device."};
    cw_tenant* tenants[LLMS];
    cw_model* models[LLMS];
    cw_generation* generations[LLMS];

    for (int i = 0; i < LLMS; ++i) {
        char id[16];
        cw_tenant_config own;
        check(cw_tenant_config_default(&own));
        own.memory_limit = 256u << 20; /* bytes; beyond it an allocation fails */
        own.processors = 1;            /* cores; on a GPU SMs, at least one group of them */
        snprintf(id, sizeof id, "llm%d", i + 1);
        check(cw_tenant_open(id, NULL, &own, &tenants[i]));
        check(cw_model_load(tenants[i], file, NULL, &models[i]));

        cw_generate_params how;
        check(cw_generate_params_default(&how));
        how.prompt = questions[i];
        how.chat = 1;
        how.max_tokens = 100;
        check(cw_model_generate(models[i], &how, NULL, NULL, NULL, &generations[i])); /* returns at once */
    }
    for (int i = 0; i < LLMS; ++i) {
        size_t needed = 0;
        check(cw_generation_wait(generations[i], -1));
        check(cw_generation_text(generations[i], NULL, 0, &needed));
        char* text = malloc(needed);
        if (text == NULL) {
            return 1;
        }
        check(cw_generation_text(generations[i], text, needed, NULL));
        printf("%s\n  %s\n\n", questions[i], text);
        free(text);
        check(cw_generation_free(generations[i]));
        check(cw_model_free(models[i]));
        check(cw_tenant_close(tenants[i], NULL));
    }
    return 0;
}
