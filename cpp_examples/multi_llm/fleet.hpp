// The tenants that run at once, and what is known of each.
#pragma once

#include "arguments.hpp"

#include <cogniware/cogniware.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

namespace multi_llm {

// One tenant with its model and what it generates. Stays where it is: the token callback writes to it.
struct Member {
    std::string id;
    std::string prompt;
    double weight = 1.0;
    cogniware::Tenant tenant;
    cogniware::Model model;
    std::atomic<std::uint32_t> pieces{0};  // pieces of text so far; the exact count of tokens comes at the end
    cogniware::Generation generation{nullptr};
    bool ended = false;

    Member(std::string member_id, std::string member_prompt, double member_weight, const Arguments& arguments,
           const cogniware::DeviceInfo& device);
};

// What is known of a member while it runs and at its end.
struct Figures {
    std::uint32_t tokens = 0;
    double tokens_per_second = 0;
    double ttft_ms = 0;
    std::uint64_t memory_bytes = 0;
    std::uint64_t memory_limit_bytes = 0;
    std::int64_t node = -1;        // the id of its compute node; -1: none yet
    std::uint32_t processors = 0;  // cores or SMs of that node
    double device_time_share = 0;  // of the device time that all members used together, 0 to 1
};

class Fleet {
public:
    // Opens every tenant and loads every model; throws cogniware::Error when one of them cannot be had.
    explicit Fleet(const Arguments& arguments);

    // Starts all generations.
    void start(std::uint32_t tokens);

    // Waits at most so long for the end of all; true when all have ended.
    bool wait(std::chrono::milliseconds at_most);

    const std::deque<Member>& members() const { return members_; }
    const cogniware::DeviceInfo& device() const { return device_; }
    std::string device_name() const;
    double seconds() const;

    // Figures of each member, now.
    std::deque<Figures> figures() const;

private:
    cogniware::DeviceInfo device_{};
    std::deque<Member> members_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point ended_;
    bool done_ = false;
};

}  // namespace multi_llm
