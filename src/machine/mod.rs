//! The machine that this process runs on: its name, its memory, and how much of that memory this process may take.
//!
//! Must not know: what the memory is for.

mod cgroup;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, System};

use crate::files;

/// The machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Memory {
    /// What the machine has.
    pub total_bytes: u64,
    /// What this process and its neighbours in a container or a batch job may take together, if that is less.
    pub limit_bytes: Option<u64>,
    /// What this process can still take: without swapping, and without being killed for passing the limit.
    pub available_bytes: u64,
}

/// The machine's memory; none where the system does not tell.
pub fn memory() -> Option<Memory> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let total = Some(system.total_memory()).filter(|bytes| *bytes > 0)?;
    Some(bounded(total, system.available_memory(), cgroup::limit(Path::new("/"))))
}

/// The machine's memory, of which a limit may allow only a part. A limit above the total is ignored.
fn bounded(total: u64, available: u64, limit: Option<cgroup::Limit>) -> Memory {
    let available = available.min(total);
    let limit = limit.filter(|limit| limit.bytes < total);
    Memory {
        total_bytes: total,
        limit_bytes: limit.map(|limit| limit.bytes),
        available_bytes: limit.map_or(available, |limit| available.min(limit.left)),
    }
}

/// The bytes that this process holds already, without files that are only mapped; 0 where the system does not tell.
pub fn held() -> u64 {
    let status = files::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    kibibytes(&status, "RssAnon").unwrap_or(0)
}

/// A line `Name:  12 kB` of a file of /proc, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The name of this machine.
pub fn host() -> String {
    #[cfg(unix)]
    {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if !name.is_empty() {
            return name;
        }
    }
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".into())
}

/// A name for the kernel that runs this process: containers of one machine share it, and it changes with every boot. Where
/// the system does not tell, it is the name of the machine.
pub fn kernel() -> String {
    let boot = files::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    Some(boot.trim()).filter(|boot| !boot.is_empty()).map_or_else(host, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read_or_not_known() {
        let text = "RssAnon:       24576 kB\nRssFile:  1 kB\nRssShmem: 5\n";
        assert_eq!(kibibytes(text, "RssAnon"), Some(24_576 * 1024));
        assert_eq!(kibibytes(text, "RssFile"), Some(1024));
        for (text, name) in [("", "RssAnon"), (text, "Rss"), (text, "RssShmem"), ("A: x kB", "A")] {
            assert_eq!(kibibytes(text, name), None, "{text}");
        }
        assert_eq!(kibibytes("A: 99999999999999999999 kB", "A"), None);
        assert_eq!(kibibytes("A: 18446744073709551615 kB", "A"), None);
    }

    #[test]
    fn the_memory_of_this_machine_is_known() {
        let memory = memory().unwrap();
        assert!(memory.available_bytes > 0 && memory.available_bytes <= memory.total_bytes);
        assert!(memory.limit_bytes.is_none_or(|limit| limit < memory.total_bytes));
        assert!(cfg!(not(target_os = "linux")) || held() > 0);
        assert!(!host().is_empty());
    }

    #[test]
    fn a_limit_counts_where_it_is_the_tighter_bound() {
        let limit = |bytes, left| Some(cgroup::Limit { bytes, left });
        let known = |limit_bytes, available_bytes| Memory { total_bytes: 100, limit_bytes, available_bytes };
        assert_eq!(bounded(100, 60, None), known(None, 60));
        assert_eq!(bounded(100, 60, limit(40, 30)), known(Some(40), 30));
        // Other programs may leave less than the limit does.
        assert_eq!(bounded(100, 20, limit(40, 30)), known(Some(40), 20));
        assert_eq!(bounded(100, 60, limit(u64::MAX, 3)), known(None, 60));
    }
}
