//! How a device is at one moment.

/// Figures of the whole device at one moment, of all programs that use it. What the device, its driver or the system
/// does not tell is `None`, never a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceHealth {
    /// Part of the time that it was busy, 0 to 1: a GPU over NVML's sample period (a sixth of a second to a second), the
    /// CPU since the last time it was asked.
    pub utilization: Option<f64>,
    /// Part of the time that its memory was read or written, 0 to 1.
    pub memory_utilization: Option<f64>,
    /// Bytes of its memory in use.
    pub memory_used: Option<u64>,
    /// Bytes of its memory.
    pub memory_total: Option<u64>,
    /// Degrees Celsius.
    pub temperature: Option<f64>,
    /// Watts now.
    pub power: Option<f64>,
    /// Watts that it may take.
    pub power_limit: Option<f64>,
    /// Clock of its processors in Hz (CPU: the mean of its cores).
    pub clock: Option<f64>,
    /// Clock of its memory in Hz.
    pub memory_clock: Option<f64>,
    /// Energy in joules since its driver was loaded.
    pub energy: Option<f64>,
}

impl DeviceHealth {
    /// What is known, each with its unit in the name.
    pub fn known(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("utilization_ratio", self.utilization),
            ("memory_utilization_ratio", self.memory_utilization),
            ("memory_used_bytes", self.memory_used.map(|b| b as f64)),
            ("memory_total_bytes", self.memory_total.map(|b| b as f64)),
            ("temperature_celsius", self.temperature),
            ("power_watts", self.power),
            ("power_limit_watts", self.power_limit),
            ("clock_hertz", self.clock),
            ("memory_clock_hertz", self.memory_clock),
            ("energy_joules", self.energy),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
