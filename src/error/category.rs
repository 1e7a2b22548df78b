//! What part of the work an error belongs to.

use super::Status;

/// What part of the work an error belongs to: one word for programs that sort, count or route errors. The numbers are
/// those of `CW_CATEGORY_*` in C; they are never reused.
///
/// An error that knows its category (because it was born where there is no doubt, such as a driver call) keeps it.
/// Otherwise the status decides where it leaves no doubt, then the exported function that was called, then the status
/// again; see [`Category::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Category {
    /// Nothing to start with: no CUDA, no device, a manager that was not initialised.
    Initialization = 1,
    /// The device's driver and what is loaded into it: libraries, kernel modules, permissions.
    Driver = 2,
    /// A device that answers errors, stopped answering or was lost; its streams, events and nodes.
    Device = 3,
    /// Memory: limits, shortage, pointers, copies, partitions.
    Memory = 4,
    /// Code that runs on the device: images, functions, launches, graphs.
    Kernel = 5,
    /// Tasks: their parameters, their scheduling, their ends.
    Task = 6,
    /// Between languages: arrays, registrations and calls of the bridge, callbacks of the application.
    Bridge = 7,
    /// Models: files, formats, prompts, generation.
    Model = 8,
    /// Tenants: their ids, shares, nodes and settings.
    Tenant = 9,
    /// The operating system: files, threads, limits.
    System = 10,
    /// Arguments of functions that belong to none of the above.
    Argument = 11,
    /// Bugs in Cogniware.
    Internal = 12,
}

impl Category {
    /// Every category, by number.
    pub const ALL: [Category; 12] = [
        Category::Initialization,
        Category::Driver,
        Category::Device,
        Category::Memory,
        Category::Kernel,
        Category::Task,
        Category::Bridge,
        Category::Model,
        Category::Tenant,
        Category::System,
        Category::Argument,
        Category::Internal,
    ];

    /// A short stable name, as used in logs and figures.
    pub fn name(self) -> &'static str {
        match self {
            Category::Initialization => "initialization",
            Category::Driver => "driver",
            Category::Device => "device",
            Category::Memory => "memory",
            Category::Kernel => "kernel",
            Category::Task => "task",
            Category::Bridge => "bridge",
            Category::Model => "model",
            Category::Tenant => "tenant",
            Category::System => "system",
            Category::Argument => "argument",
            Category::Internal => "internal",
        }
    }

    /// The category of an error of `status` that left through the exported function `place` (empty when it did not).
    pub fn of(status: Status, place: &str) -> Category {
        use Status::*;
        match status {
            NoDevice | NotInitialized => return Category::Initialization,
            OutOfMemory | QuotaExceeded => return Category::Memory,
            DeviceLost => return Category::Device,
            Panic | Internal => return Category::Internal,
            Callback => return Category::Bridge,
            // A module of the driver is no model.
            Format if !place.contains("_module") => return Category::Model,
            _ => {}
        }
        Category::of_place(place).unwrap_or(match status {
            Driver => Category::Device,
            NotOwner => Category::Memory,
            Cancelled | Timeout => Category::Task,
            Io => Category::System,
            _ => Category::Argument,
        })
    }

    /// The category of a driver function by its name.
    pub fn of_driver_call(name: &str) -> Category {
        let starts = |words: &[&str]| words.iter().any(|w| name.starts_with(w));
        if starts(&["cuInit", "cuDriver", "cuDeviceGetCount"]) {
            Category::Initialization
        } else if starts(&["cuMem", "cuPointer", "cuArray", "cuTexObject"]) {
            Category::Memory
        } else if starts(&[
            "cuModule",
            "cuLibrary",
            "cuFunc",
            "cuLaunchK",
            "cuLaunchC",
            "cuGraph",
            "cuOccupancy",
        ]) {
            Category::Kernel
        } else {
            Category::Device
        }
    }

    /// The category of an exported function by its name; the more telling part of a name first.
    fn of_place(place: &str) -> Option<Category> {
        const PARTS: [(&str, Category); 22] = [
            ("_initialize", Category::Initialization),
            ("_task", Category::Task),
            ("_partition", Category::Memory),
            ("_memory", Category::Memory),
            ("_array_allocate", Category::Memory),
            ("_array_deallocate", Category::Memory),
            ("_direct", Category::Memory),
            ("cw_bridge", Category::Bridge),
            ("cw_array", Category::Bridge),
            ("cw_python", Category::Bridge),
            ("_llm", Category::Tenant),
            ("_virtual_node", Category::Tenant),
            ("_module", Category::Driver),
            ("cw_driver", Category::Driver),
            ("_stream", Category::Device),
            ("_device", Category::Device),
            ("_node", Category::Device),
            ("cw_model", Category::Model),
            ("cw_generat", Category::Model),
            ("cw_tenant", Category::Tenant),
            ("cw_system", Category::Initialization),
            ("cw_image", Category::Kernel),
        ];
        PARTS.iter().find(|(part, _)| place.contains(part)).map(|(_, category)| *category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_names_differ() {
        for (at, category) in Category::ALL.iter().enumerate() {
            assert_eq!(*category as usize, at + 1);
            assert_eq!(Category::ALL.iter().filter(|c| c.name() == category.name()).count(), 1);
        }
    }

    #[test]
    fn the_five_documented_scenarios_have_categories_of_their_own() {
        for (status, place, category) in [
            (Status::NoDevice, "cw_kernel_initialize", Category::Initialization),
            (Status::Driver, "cw_kernel_initialize", Category::Initialization),
            (Status::NotFound, "cw_driver_module_load", Category::Driver),
            (Status::Io, "cw_driver_module_load", Category::Driver),
            (Status::Format, "cw_driver_module_load", Category::Driver),
            (Status::Format, "cw_bridge_llm_register", Category::Model),
            (Status::QuotaExceeded, "cw_bridge_array_allocate", Category::Memory),
            (Status::OutOfMemory, "cw_kernel_memory_alloc", Category::Memory),
            (Status::InvalidArgument, "cw_kernel_memory_alloc", Category::Memory),
            (Status::InvalidArgument, "cw_kernel_partition_create", Category::Memory),
            (Status::InvalidArgument, "cw_kernel_task_schedule", Category::Task),
            (Status::AlreadyExists, "cw_task_schedule", Category::Task),
            (Status::NotFound, "cw_bridge_task_schedule", Category::Task),
            (Status::InvalidArgument, "cw_bridge_copy_to_gpu", Category::Bridge),
            (Status::NotFound, "cw_bridge_llm_config", Category::Bridge),
            (Status::Callback, "cw_task_wait", Category::Bridge),
            (Status::InvalidArgument, "cw_map_key", Category::Argument),
            (Status::Io, "", Category::System),
        ] {
            assert_eq!(Category::of(status, place), category, "{status:?} from {place:?}");
        }
        assert_eq!(Category::of_driver_call("cuMemCreate"), Category::Memory);
        assert_eq!(Category::of_driver_call("cuLaunchKernel"), Category::Kernel);
        assert_eq!(Category::of_driver_call("cuLaunchHostFunc"), Category::Device);
        assert_eq!(Category::of_driver_call("cuInit"), Category::Initialization);
    }
}
