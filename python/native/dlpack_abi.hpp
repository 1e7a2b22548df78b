// SPDX-License-Identifier: MIT OR Apache-2.0
// The structs of DLPack's binary interface (legacy, and version 1), which is fixed.
#ifndef COGNIWARE_PYTHON_DLPACK_ABI_HPP
#define COGNIWARE_PYTHON_DLPACK_ABI_HPP

#include <cstdint>

namespace cogniware_python {
namespace dl {

enum DeviceType : std::int32_t { cpu = 1, cuda = 2, cuda_host = 3, cuda_managed = 13 };

struct Device {
    std::int32_t type;
    std::int32_t id;
};

enum TypeCode : std::uint8_t { integer = 0, natural = 1, real = 2, brain = 4, complex = 5, boolean = 6 };

struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; null: row after row without gaps
    std::uint64_t byte_offset;
};

struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

struct Version {
    std::uint32_t major;
    std::uint32_t minor;
};

constexpr std::uint64_t read_only = 1;
constexpr std::uint64_t copied = 2;

struct ManagedVersioned {
    Version version;
    void* context;
    void (*deleter)(ManagedVersioned*);
    std::uint64_t flags;
    Tensor tensor;
};

static_assert(sizeof(Tensor) == 48 && sizeof(Managed) == 64 && sizeof(ManagedVersioned) == 80,
              "the layout that every consumer expects");

}  // namespace dl
}  // namespace cogniware_python

#endif
