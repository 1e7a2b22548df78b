// What the viewer knows of devices and tenants at one moment.
#pragma once

#include "exposition.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cogniware_top {

// A figure that may not be known.
using Figure = std::optional<double>;

struct Device {
    std::string name;     // "cuda:0"
    std::string product;  // what it is called
    Figure utilization;   // busy part, of all programs
    Figure memory_used, memory_total;
    Figure tenants;  // busy part of the last second with work of the tenants of the shown process
    Figure ratio;    // tenants over device
};

struct Tenant {
    std::string id;    // "vgpu:1", or an LLM's
    std::string name;  // a virtual GPU's
    std::string device;
    Figure number;  // the virtual GPU's id; LLMs have none
    Figure limit, held, peak, spilled, rejections;
    Figure asked, got;                  // share
    Figure second, minute;              // utilisation
    Figure launches, waits;             // counters: waits in seconds
    Figure p50, p99;                    // seconds
    Figure compactions, longest_pause;  // pause in seconds
};

struct Snapshot {
    std::map<std::string, Device> devices;
    std::vector<Tenant> tenants;  // virtual GPUs by number, then LLMs by id
    Figure published;             // seconds since 1970
    Figure interval;              // seconds between two publications
    double taken = 0.0;           // seconds of a clock that only goes forward
};

// The figures in a text. `taken` is when it was made. Throws BadText when it holds none of Cogniware's.
Snapshot figures(const std::string& text, double taken);

// Per-second and mean values need two moments.
struct Rates {
    Figure launches;  // a second
    Figure wait;      // mean seconds between submission and beginning, by launch
};

// What happened between two snapshots to a tenant; nothing known where it is not in both.
Rates rates(const Snapshot& before, const Snapshot& now, const Tenant& tenant);

}  // namespace cogniware_top
