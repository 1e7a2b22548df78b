#include "figures.hpp"

#include <algorithm>
#include <cmath>

namespace cogniware_top {
namespace {

constexpr std::size_t most_tenants = 10000;

const std::string* label(const Sample& sample, const char* name) {
    const auto found = sample.labels.find(name);
    return found == sample.labels.end() ? nullptr : &found->second;
}

bool has(const Sample& sample, const char* name, const char* value) {
    const std::string* text = label(sample, name);
    return text != nullptr && *text == value;
}

// What can be shown: finite and not negative, as all of these figures are.
Figure sound(double value) { return std::isfinite(value) && value >= 0.0 ? Figure(value) : std::nullopt; }

struct Field {
    const char* metric;
    const char* key;  // a label that must have the value, or null
    const char* value;
    Figure Tenant::* place;
};

// What is read of a tenant.
const Field tenant_fields[] = {
    {"cogniware_tenant_memory_limit_bytes", nullptr, nullptr, &Tenant::limit},
    {"cogniware_tenant_memory_held_bytes", nullptr, nullptr, &Tenant::held},
    {"cogniware_tenant_memory_peak_bytes", nullptr, nullptr, &Tenant::peak},
    {"cogniware_tenant_memory_spilled_bytes", nullptr, nullptr, &Tenant::spilled},
    {"cogniware_tenant_rejections_total", nullptr, nullptr, &Tenant::rejections},
    {"cogniware_vgpu_share_asked_ratio", nullptr, nullptr, &Tenant::asked},
    {"cogniware_tenant_share_ratio", "window", "1s", &Tenant::got},
    {"cogniware_tenant_utilization_ratio", "window", "1s", &Tenant::second},
    {"cogniware_tenant_utilization_ratio", "window", "60s", &Tenant::minute},
    {"cogniware_tenant_executions_total", nullptr, nullptr, &Tenant::launches},
    {"cogniware_tenant_queue_wait_seconds_total", nullptr, nullptr, &Tenant::waits},
    {"cogniware_tenant_latency_seconds", "quantile", "0.5", &Tenant::p50},
    {"cogniware_tenant_latency_seconds", "quantile", "0.99", &Tenant::p99},
    {"cogniware_tenant_compactions_total", nullptr, nullptr, &Tenant::compactions},
    {"cogniware_tenant_compaction_longest_pause_seconds", nullptr, nullptr, &Tenant::longest_pause},
};

void read_device(const Sample& sample, Snapshot& snapshot) {
    const std::string* name = label(sample, "device");
    if (name == nullptr || sample.name.rfind("cogniware_device_", 0) != 0) {
        return;
    }
    if (snapshot.devices.size() >= most_tenants && snapshot.devices.count(*name) == 0) {
        throw BadText("no metrics of Cogniware: more devices than can be");
    }
    Device& device = snapshot.devices[*name];
    device.name = *name;
    if (sample.name == "cogniware_device_busy_ratio") {
        device.utilization = sound(sample.value);
    } else if (sample.name == "cogniware_device_memory_used_bytes") {
        device.memory_used = sound(sample.value);
    } else if (sample.name == "cogniware_device_memory_total_bytes") {
        device.memory_total = sound(sample.value);
    } else if (sample.name == "cogniware_device_tenants_utilization_ratio" && has(sample, "window", "1s")) {
        device.tenants = sound(sample.value);
    } else if (sample.name == "cogniware_device_tenants_over_device_ratio") {
        device.ratio = sound(sample.value);
    } else if (sample.name == "cogniware_device_info") {
        const std::string* product = label(sample, "name");
        device.product = product == nullptr ? "" : *product;
    }
}

void read_tenant(const Sample& sample, std::map<std::string, Tenant>& tenants) {
    const std::string* id = label(sample, "tenant");
    if (id == nullptr) {
        return;
    }
    const bool own = sample.name.rfind("cogniware_tenant_", 0) == 0 || sample.name.rfind("cogniware_vgpu_", 0) == 0;
    if (!own) {
        return;
    }
    if (tenants.size() >= most_tenants && tenants.count(*id) == 0) {
        throw BadText("no metrics of Cogniware: more tenants than can be");
    }
    Tenant& tenant = tenants[*id];
    tenant.id = *id;
    for (const Field& field : tenant_fields) {
        if (sample.name == field.metric && (field.key == nullptr || has(sample, field.key, field.value))) {
            tenant.*(field.place) = sound(sample.value);
        }
    }
    const std::string* device = label(sample, "device");
    if (device != nullptr && sample.name == "cogniware_tenant_info") {
        tenant.device = *device;
    }
    const std::string* number = label(sample, "vgpu");
    if (number != nullptr && sample.name == "cogniware_vgpu_info") {
        const bool digits =
            !number->empty() && number->size() <= 10 && number->find_first_not_of("0123456789") == std::string::npos;
        tenant.number = digits ? Figure(std::stod(*number)) : std::nullopt;
        const std::string* name = label(sample, "name");
        tenant.name = name == nullptr ? "" : *name;
    }
}

const Tenant* find(const Snapshot& snapshot, const std::string& id) {
    const auto found = std::find_if(snapshot.tenants.begin(), snapshot.tenants.end(),
                                    [&](const Tenant& tenant) { return tenant.id == id; });
    return found == snapshot.tenants.end() ? nullptr : &*found;
}

// How much a counter grew; nothing when it began anew.
Figure grown(const Figure& before, const Figure& now) {
    return before && now && *now >= *before ? Figure(*now - *before) : std::nullopt;
}

}  // namespace

Snapshot figures(const std::string& text, double taken) {
    Snapshot snapshot;
    std::map<std::string, Tenant> tenants;
    bool ours = false;
    for (const Sample& sample : parse(text)) {
        ours = ours || sample.name == "cogniware_build_info";
        read_device(sample, snapshot);
        read_tenant(sample, tenants);
        if (sample.name == "cogniware_published_timestamp_seconds") {
            snapshot.published = sound(sample.value);
        } else if (sample.name == "cogniware_publish_interval_seconds") {
            snapshot.interval = sound(sample.value);
        }
    }
    if (!ours) {
        throw BadText("no metrics of Cogniware: there is no cogniware_build_info");
    }
    for (auto& entry : tenants) {
        snapshot.tenants.push_back(std::move(entry.second));
    }
    std::stable_sort(snapshot.tenants.begin(), snapshot.tenants.end(), [](const Tenant& a, const Tenant& b) {
        return a.number && b.number ? *a.number < *b.number : a.number.has_value() && !b.number.has_value();
    });
    snapshot.taken = taken;
    return snapshot;
}

Rates rates(const Snapshot& before, const Snapshot& now, const Tenant& tenant) {
    const Tenant* old = find(before, tenant.id);
    // Of the publisher's clock where it tells: two readings of one publication are one moment.
    const double seconds =
        before.published && now.published ? *now.published - *before.published : now.taken - before.taken;
    if (old == nullptr || seconds <= 0.0) {
        return {};
    }
    Rates found;
    const Figure launched = grown(old->launches, tenant.launches);
    const Figure waited = grown(old->waits, tenant.waits);
    if (launched) {
        found.launches = *launched / seconds;
    }
    if (waited && launched && *launched > 0.0) {
        found.wait = *waited / *launched;
    }
    return found;
}

}  // namespace cogniware_top
