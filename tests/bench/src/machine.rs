//! What the figures were measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This one. What cannot be read is empty or 0.
    pub fn this() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = rustix::system::sysinfo();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor.map_or_else(String::new, |(_, name)| name.to_owned()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory_bytes: memory.totalram * u64::from(memory.mem_unit),
        }
    }
}

/// Processes that were runnable over the last minute, on average; 0 where nobody says.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
