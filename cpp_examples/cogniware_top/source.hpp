// Where the metrics come from.
#pragma once

#include <stdexcept>
#include <string>

namespace cogniware_top {

// A source that has nothing to show now; what() says why.
class NoMetrics : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class Source {
public:
    virtual ~Source() = default;

    // What is shown as its name.
    virtual std::string name() const = 0;

    // Prometheus text as it is now. Throws NoMetrics.
    virtual std::string text() = 0;
};

// A file that another process publishes.
class File : public Source {
public:
    explicit File(std::string path) : path_(std::move(path)) {}
    std::string name() const override { return path_; }
    std::string text() override;

private:
    std::string path_;
};

}  // namespace cogniware_top
