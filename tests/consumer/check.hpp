#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the program, naming the place, when `condition` does not hold; in every kind of build.
#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                  \
        }                                                                                  \
    } while (false)

void kernel_and_bridge();
void partitions_and_arrays();
void compute_nodes();
