//! Who this process is, and whether another process of this machine still lives.
//!
//! A process id alone says little: it is reused, it means nothing on another machine, and two
//! containers of one machine number their processes alike. So an identity also holds the boot, the
//! process-id namespace and the start time, and [`Identity::is_dead`] answers yes only when sure.
//! Must not know: claims, the store.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One process, recognisable from any other, also over a shared file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub host: String,
    /// Changes with every boot; absent where the system does not tell.
    pub boot_id: Option<String>,
    /// Where the process id is meant (a container has its own); absent where the system does not tell.
    pub namespace: Option<String>,
    pub pid: u32,
    /// Start of the process in ticks since boot, against reused ids; absent where the system does not tell.
    pub start: Option<u64>,
}

impl Identity {
    pub(super) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned()),
            namespace: fs::read_link("/proc/self/ns/pid").ok().map(|path| path.to_string_lossy().into_owned()),
            pid,
            start: status(pid).map(|(_, start)| start),
        }
    }

    /// Whether the process certainly runs no more. No for a process that cannot be judged from here.
    pub(super) fn is_dead(&self) -> bool {
        let here = Self::of_this_process();
        if (&self.host, &self.boot_id, &self.namespace) != (&here.host, &here.boot_id, &here.namespace) {
            return false;
        }
        match (status(self.pid), self.start) {
            // A zombie has ended and only waits to be collected.
            (Some(('Z' | 'X', _)), _) => true,
            (Some((_, now)), Some(then)) => now != then,
            (Some(_), None) => false,
            // Nothing under /proc: ended, or a system that hides (or has no) /proc. The kernel knows.
            (None, _) => signal_says_dead(self.pid),
        }
    }
}

/// The name of this machine.
pub(super) fn host() -> String {
    #[cfg(unix)]
    {
        let mut buffer = [0_u8; 256];
        #[expect(unsafe_code, reason = "a C function")]
        // SAFETY: the pointer and the length describe `buffer`, which outlives the call.
        let failed = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) } != 0;
        let name = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
        if !failed && !name.is_empty() {
            return String::from_utf8_lossy(name).into_owned();
        }
    }
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".into())
}

/// State letter and start ticks from `/proc/<pid>/stat`, if the system has one.
fn status(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, even parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(unix)]
fn signal_says_dead(pid: u32) -> bool {
    // Zero and negative numbers address groups of processes, never one.
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return true };
    #[expect(unsafe_code, reason = "a C function")]
    // SAFETY: signal 0 only asks whether the process exists.
    let failed = unsafe { libc::kill(pid, 0) } != 0;
    failed && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

#[cfg(not(unix))]
fn signal_says_dead(_pid: u32) -> bool {
    false
}

/// Sixteen hexadecimal digits that no other call, process or machine draws: for temporary names.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The standard library's only door to the system's randomness.
    let random = RandomState::new().build_hasher().finish();
    let text = format!(
        "{random} {} {} {:?} {}",
        host(),
        std::process::id(),
        SystemTime::now(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let mut digits = blake3::hash(text.as_bytes()).to_hex().to_string();
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_reused_id_does_not_fool() {
        let mut me = Identity::of_this_process();
        assert!(!me.is_dead());
        if let Some(start) = me.start {
            me.start = Some(start + 1);
            assert!(me.is_dead(), "the same id with another start is another process");
        }
    }

    #[test]
    fn an_ended_process_is_dead_before_and_after_it_is_collected() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = Identity { pid: child.id(), start: None, ..Identity::of_this_process() };
        if cfg!(target_os = "linux") {
            while !gone.is_dead() {
                std::thread::yield_now();
            }
        }
        child.wait().unwrap();
        assert!(gone.is_dead());
    }

    #[test]
    fn a_process_of_another_machine_boot_or_container_is_not_judged() {
        let me = Identity::of_this_process();
        let gone = Identity { pid: u32::MAX, start: Some(1), ..me };
        assert!(gone.is_dead());
        assert!(!Identity { host: "elsewhere".into(), ..gone.clone() }.is_dead());
        assert!(!Identity { boot_id: Some("another".into()), ..gone.clone() }.is_dead());
        assert!(!Identity { namespace: Some("pid:[1]".into()), ..gone }.is_dead());
    }

    #[test]
    fn unique_names_differ() {
        assert_ne!(unique(), unique());
        assert_eq!(unique().len(), 16);
    }
}
