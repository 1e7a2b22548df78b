// SPDX-License-Identifier: MIT OR Apache-2.0
// Arrays to and from other libraries without a copy, by DLPack (https://dmlc.github.io/dlpack), versions 0.x and 1.x.
#ifndef COGNIWARE_CORE_DLPACK_HPP
#define COGNIWARE_CORE_DLPACK_HPP

#include <cogniware/core/memory_array.hpp>
#include <cogniware/detail/check.hpp>
#include <cogniware/error.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// The structs of DLPack's C interface, laid out as dlpack.h has them. A pointer to one of these may be cast to or from the
// type of that header.
namespace dlpack {

enum DeviceType : std::int32_t { kCPU = 1, kCUDA = 2, kCUDAHost = 3, kCUDAManaged = 13 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2 };

constexpr std::uint32_t major_version = 1;
constexpr std::uint32_t minor_version = 1;
constexpr std::uint64_t flag_read_only = 1;

struct Device {
    std::int32_t device_type;
    std::int32_t device_id;
};

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
    std::int64_t* strides;  // in elements; null for rows without gaps
    std::uint64_t byte_offset;
};

struct ManagedTensor {
    Tensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(ManagedTensor*);
};

struct Version {
    std::uint32_t major;
    std::uint32_t minor;
};

struct ManagedTensorVersioned {
    Version version;
    void* manager_ctx;
    void (*deleter)(ManagedTensorVersioned*);
    std::uint64_t flags;
    Tensor dl_tensor;
};

static_assert(sizeof(void*) != 8 || (sizeof(Tensor) == 48 && sizeof(ManagedTensor) == 64), "as dlpack.h has it");
static_assert(sizeof(void*) != 8 || sizeof(ManagedTensorVersioned) == 80, "as dlpack.h has it");

}  // namespace dlpack

namespace detail {

// Another handle to the array's memory, which outlives a deallocation by hand.
inline MemoryArray share(const MemoryArray& array) {
    cw_array* other = nullptr;
    check(cw_array_share(array.get(), &other));
    return MemoryArray(other);
}

// A tensor with all that it points to. It has a handle of its own to the array's memory.
template <class Managed>
struct Exported {
    explicit Exported(const MemoryArray& from)
        : array(share(from)), shape(static_cast<std::int64_t>(array.size())), stride(1), managed() {
        auto& tensor = managed.dl_tensor;
        tensor.data = array.data();
        // Memory of the host on every device: on a GPU it is pinned, and the GPU uses the same address.
        tensor.device = {dlpack::kCPU, 0};
        tensor.ndim = 1;
        tensor.dtype = {dlpack::kFloat, 32, 1};
        tensor.shape = &shape;
        tensor.strides = &stride;
        managed.manager_ctx = this;
        managed.deleter = [](Managed* gone) { delete static_cast<Exported*>(gone->manager_ctx); };
    }

    MemoryArray array;
    std::int64_t shape;
    std::int64_t stride;
    Managed managed;
};

template <class Managed>
Managed* export_array(const MemoryArray& array) {
    if (array.empty()) {
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `array`: is empty: nothing to hand on");
    }
    return &(new Exported<Managed>(array))->managed;
}

}  // namespace detail

// The array as a tensor of f32 that shares its memory. Whoever takes it calls its deleter once; until then the memory stays,
// also when the array is deallocated meanwhile. Throws Error for an empty array.
inline dlpack::ManagedTensor* toDLPack(const MemoryArray& array) {
    return detail::export_array<dlpack::ManagedTensor>(array);
}

// The same with a version and flags, as DLPack has it since 1.0.
inline dlpack::ManagedTensorVersioned* toDLPackVersioned(const MemoryArray& array) {
    auto* managed = detail::export_array<dlpack::ManagedTensorVersioned>(array);
    managed->version = {dlpack::major_version, dlpack::minor_version};
    managed->flags = 0;
    return managed;
}

// A tensor of another library, seen as f32 elements without a copy. It calls the tensor's deleter when its last copy is gone.
class ForeignArray {
public:
    ForeignArray() noexcept = default;

    float* data() noexcept { return shared_ ? shared_->data : nullptr; }
    const float* data() const noexcept { return shared_ ? shared_->data : nullptr; }
    std::size_t size() const noexcept { return shared_ ? shared_->size : 0; }
    bool empty() const noexcept { return size() == 0; }
    // As the other library has it; rows without gaps.
    std::vector<std::size_t> shape() const { return shared_ ? shared_->shape : std::vector<std::size_t>(); }
    // The other library asks that nobody writes.
    bool read_only() const noexcept { return shared_ && shared_->read_only; }
    // The memory is a GPU's: data() is an address for copies and kernels only.
    bool on_gpu() const noexcept { return shared_ && shared_->on_gpu; }

    float* begin() noexcept { return data(); }
    float* end() noexcept { return data() + size(); }
    const float* begin() const noexcept { return data(); }
    const float* end() const noexcept { return data() + size(); }

private:
    struct Shared {
        Shared() = default;
        Shared(const Shared&) = delete;
        Shared& operator=(const Shared&) = delete;
        ~Shared() {
            if (release != nullptr) {
                release(managed);
            }
        }

        float* data = nullptr;
        std::size_t size = 0;
        std::vector<std::size_t> shape;
        bool read_only = false;
        bool on_gpu = false;
        void* managed = nullptr;
        void (*release)(void*) = nullptr;
    };

    template <class Managed>
    static ForeignArray take(Managed* managed, bool read_only);

    static void look(const dlpack::Tensor& tensor, Shared& shared);

    std::shared_ptr<Shared> shared_;

    friend ForeignArray fromDLPack(dlpack::ManagedTensor* tensor);
    friend ForeignArray fromDLPack(dlpack::ManagedTensorVersioned* tensor);
};

// Fills `shared` from a tensor, or throws.
inline void ForeignArray::look(const dlpack::Tensor& tensor, Shared& shared) {
    const auto refuse = [](const std::string& why) {
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `tensor`: " + why);
    };
    const auto device = tensor.device.device_type;
    if (device != dlpack::kCPU && device != dlpack::kCUDA && device != dlpack::kCUDAHost &&
        device != dlpack::kCUDAManaged) {
        refuse("lies on a device of DLPack type " + std::to_string(device) +
               ", which is neither the host nor a CUDA GPU");
    }
    if (tensor.dtype.code != dlpack::kFloat || tensor.dtype.bits != 32 || tensor.dtype.lanes != 1) {
        refuse("its elements are not f32");
    }
    if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
        refuse("has no shape");
    }
    std::size_t size = 1;
    for (std::int32_t axis = 0; axis < tensor.ndim; ++axis) {
        const std::int64_t length = tensor.shape[axis];
        const auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(float);
        if (length < 0 || (length > 0 && size > most / static_cast<std::size_t>(length))) {
            refuse("its shape overflows");
        }
        size *= static_cast<std::size_t>(length);
        shared.shape.push_back(static_cast<std::size_t>(length));
    }
    std::int64_t stride = 1;
    for (std::int32_t axis = tensor.ndim - 1; axis >= 0 && tensor.strides != nullptr && size > 0; --axis) {
        // The stride of an axis of one element does not matter.
        if (tensor.shape[axis] != 1 && tensor.strides[axis] != stride) {
            refuse("its elements do not lie in rows without gaps: make it contiguous first");
        }
        stride *= tensor.shape[axis];
    }
    if (size > 0 && tensor.data == nullptr) {
        refuse("has no memory");
    }
    auto* first = static_cast<char*>(tensor.data) + (tensor.data == nullptr ? 0 : tensor.byte_offset);
    if (reinterpret_cast<std::uintptr_t>(first) % alignof(float) != 0) {
        refuse("its elements are not aligned");
    }
    shared.data = size > 0 ? static_cast<float*>(static_cast<void*>(first)) : nullptr;
    shared.size = size;
    shared.on_gpu = device == dlpack::kCUDA;
}

template <class Managed>
ForeignArray ForeignArray::take(Managed* managed, bool read_only) {
    auto shared = std::make_shared<Shared>();
    look(managed->dl_tensor, *shared);
    // From here on it is ours to delete.
    shared->read_only = read_only;
    shared->managed = managed;
    shared->release = [](void* gone) {
        auto* tensor = static_cast<Managed*>(gone);
        if (tensor->deleter != nullptr) {
            tensor->deleter(tensor);
        }
    };
    ForeignArray array;
    array.shared_ = std::move(shared);
    return array;
}

// Takes a tensor of f32 over from another library. Throws Error, and leaves the tensor to the caller, when it is not f32,
// has gaps, or lies on a device that is neither the host nor a CUDA GPU.
inline ForeignArray fromDLPack(dlpack::ManagedTensor* tensor) {
    if (tensor == nullptr) {
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `tensor`: is null");
    }
    return ForeignArray::take(tensor, false);
}

// The same for a tensor with a version; another major version than 1 is refused.
inline ForeignArray fromDLPack(dlpack::ManagedTensorVersioned* tensor) {
    if (tensor == nullptr) {
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `tensor`: is null");
    }
    if (tensor->version.major != dlpack::major_version) {
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `tensor`: is of DLPack " +
                                                   std::to_string(tensor->version.major) + "." +
                                                   std::to_string(tensor->version.minor) + ", not 1.x");
    }
    return ForeignArray::take(tensor, (tensor->flags & dlpack::flag_read_only) != 0);
}

}  // namespace cogniware

#endif
