#include "screen.hpp"

#include "table.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>

namespace cogniware_top {
namespace {

// From here on everything fits into one table.
constexpr std::size_t wide = 124;
constexpr std::size_t longest_name = 24;
constexpr std::size_t shortest_bar = 8;
constexpr std::size_t longest_bar = 40;

// How old figures may be before they are called stale: so many intervals, and never less than so long.
constexpr double patience = 3.0;
constexpr double least_patience = 2.0;

std::string time_of_day(double clock) {
    const auto seconds = static_cast<std::time_t>(clock);
    std::tm parts{};
    char text[16] = "";
    if (localtime_r(&seconds, &parts) != nullptr) {
        std::strftime(text, sizeof text, "%H:%M:%S", &parts);
    }
    return text;
}

std::string age(double seconds) {
    if (seconds < 120.0) {
        return std::to_string(std::lround(std::max(seconds, 0.0))) + " s";
    }
    return seconds < 7200.0 ? std::to_string(std::lround(seconds / 60.0)) + " min"
                            : std::to_string(std::lround(std::min(seconds / 3600.0, 1e6))) + " h";
}

Figure over(const Figure& part, const Figure& whole) {
    return part && whole && *whole > 0.0 ? Figure(*part / *whole) : std::nullopt;
}

std::string ratio(const Figure& value) {
    if (!value || *value >= 99.0) {
        return "-";
    }
    std::string text = std::to_string(std::lround(*value * 100.0));
    text.insert(0, text.size() < 3 ? 3 - text.size() : 0, '0');
    return text.insert(text.size() - 2, ".");
}

std::string device_line(const Device& device) {
    return clean(device.name, 12) + "  busy " + percent(device.utilization) + "  memory " + bytes(device.memory_used) +
           "/" + bytes(device.memory_total) + "  tenants " + percent(device.tenants) + "  tenants/device " +
           ratio(device.ratio) + (device.product.empty() ? "" : "  " + device.product);
}

// Columns of a table out of one text by tenant each.
class Columns {
public:
    explicit Columns(const Snapshot& snapshot) : snapshot_(snapshot) {}

    void add(const std::string& title, bool right, const std::function<std::string(const Tenant&)>& cell) {
        Column column{title, right, {}};
        for (const Tenant& tenant : snapshot_.tenants) {
            column.cells.push_back(cell(tenant));
        }
        columns_.push_back(std::move(column));
    }

    void figure(const std::string& title, Figure Tenant::* which, std::string (*text)(const Figure&)) {
        add(title, true, [&](const Tenant& tenant) { return text(tenant.*which); });
    }

    std::vector<std::string> lines() const { return table(columns_); }

private:
    const Snapshot& snapshot_;
    std::vector<Column> columns_;
};

void who(Columns& columns, std::size_t longest) {
    columns.add("ID", true,
                [](const Tenant& tenant) { return tenant.number ? count(tenant.number) : std::string("-"); });
    columns.add("TENANT", false, [longest](const Tenant& tenant) {
        const std::string& name = tenant.name.empty() ? tenant.id : tenant.name;
        return clean(name.empty() ? "?" : name, longest);
    });
}

void memory(Columns& columns, std::size_t bar_columns) {
    columns.add("MEMORY", false, [bar_columns](const Tenant& tenant) {
        return bar(over(tenant.held, tenant.limit), over(tenant.peak, tenant.limit), bar_columns);
    });
    columns.add("HELD/LIMIT", true,
                [](const Tenant& tenant) { return bytes(tenant.held) + "/" + bytes(tenant.limit); });
    columns.figure("SPILLED", &Tenant::spilled, bytes);
    columns.figure("REFUSED", &Tenant::rejections, count);
}

void compactions(Columns& columns) {
    columns.figure("COMPACT", &Tenant::compactions, count);
    columns.figure("PAUSE ms", &Tenant::longest_pause, milliseconds);
}

void work(Columns& columns, const View& view) {
    columns.figure("ASKED", &Tenant::asked, percent);
    columns.figure("GOT", &Tenant::got, percent);
    columns.figure("1 s", &Tenant::second, percent);
    columns.figure("60 s", &Tenant::minute, percent);
    const auto rate = [&view](const Tenant& tenant) {
        return view.before == nullptr ? Rates{} : rates(*view.before, *view.now, tenant);
    };
    columns.add("RUNS/s", true, [rate](const Tenant& tenant) { return count(rate(tenant).launches); });
    columns.add("WAIT ms", true, [rate](const Tenant& tenant) { return milliseconds(rate(tenant).wait); });
    columns.figure("p50 ms", &Tenant::p50, milliseconds);
    columns.figure("p99 ms", &Tenant::p99, milliseconds);
}

// The widest bar with which a table fits.
std::vector<std::string> fitted(std::size_t columns,
                                const std::function<std::vector<std::string>(std::size_t)>& with_bar) {
    const auto least = with_bar(shortest_bar);
    std::size_t used = 0;
    for (const std::string& line : least) {
        used = std::max(used, width(line));
    }
    if (used >= columns) {
        return least;
    }
    return with_bar(std::min(shortest_bar + (columns - used), longest_bar));
}

std::vector<std::string> tables(const View& view, std::size_t columns) {
    const Snapshot& now = *view.now;
    if (columns >= wide) {
        return fitted(columns, [&](std::size_t bar_columns) {
            Columns all(now);
            who(all, longest_name);
            memory(all, bar_columns);
            work(all, view);
            compactions(all);
            return all.lines();
        });
    }
    const std::size_t longest = columns < 100 ? 14 : longest_name;
    auto lines = fitted(columns, [&](std::size_t bar_columns) {
        Columns held(now);
        who(held, longest);
        memory(held, bar_columns);
        compactions(held);
        return held.lines();
    });
    lines.emplace_back();
    Columns busy(now);
    who(busy, longest);
    work(busy, view);
    for (std::string& line : busy.lines()) {
        lines.push_back(std::move(line));
    }
    return lines;
}

}  // namespace

std::vector<std::string> lines(const View& view, std::size_t columns) {
    std::vector<std::string> shown;
    shown.push_back("cogniware-top  " + clean(view.source, 40) + "  " + time_of_day(view.clock) +
                    (view.keys ? "  q quits" : ""));
    if (!view.problem.empty()) {
        shown.push_back("! " + clean(view.problem, 400));
    }
    if (view.now != nullptr) {
        const Snapshot& now = *view.now;
        if (now.published) {
            const double old = view.clock - *now.published;
            if (old > std::max(patience * now.interval.value_or(1.0), least_patience)) {
                shown.push_back("! stale: written " + age(old) + " ago; has the process ended?");
            } else if (old < -least_patience) {
                shown.push_back("! written " + age(-old) + " in the future: the clocks disagree");
            }
        }
        for (const auto& entry : now.devices) {
            shown.push_back(device_line(entry.second));
        }
        shown.emplace_back();
        if (now.tenants.empty()) {
            shown.push_back("no tenants");
        } else {
            for (std::string& line : tables(view, columns)) {
                shown.push_back(std::move(line));
            }
        }
    }
    for (std::string& line : shown) {
        line = clean(line, columns);
    }
    return shown;
}

}  // namespace cogniware_top
