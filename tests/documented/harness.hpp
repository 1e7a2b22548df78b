// One test for each documented method: METHOD(Class, name) { … } registers it, CHECK ends it as failed, skip() with a reason.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

struct Skipped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What a test says where a device has nothing to show.
[[noreturn]] inline void skip(const std::string& why) { throw Skipped(why); }

struct Method {
    const char* name;
    void (*run)();
};

inline std::vector<Method>& methods() {
    static std::vector<Method> all;
    return all;
}

struct Registered {
    Registered(const char* name, void (*run)()) { methods().push_back({name, run}); }
};

#define METHOD(Class, name)                                                                 \
    static void Class##_##name();                                                           \
    static const Registered registered_##Class##_##name(#Class "::" #name, Class##_##name); \
    static void Class##_##name()

// Fails with the condition and the library's reason.
void failed(const char* file, int line, const char* condition);

#define CHECK(condition)                            \
    do {                                            \
        if (!(condition)) {                         \
            failed(__FILE__, __LINE__, #condition); \
        }                                           \
    } while (false)
