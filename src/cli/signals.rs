//! What asks for a stop: SIGINT, SIGTERM and SIGHUP, of which the first asks and the second ends the process; and a time that
//! was set.
//!
//! A signal that was ignored when the program started stays ignored. `nohup` and a shell's background jobs ignore signals on
//! purpose, and a program that catches them all the same would die at log-out. Must not know: what is being stopped.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::error::STOPPED;
use super::print;
use crate::error::{Error, Result};

/// When the first signal came.
static STOP: OnceLock<Instant> = OnceLock::new();
/// Signals so soon after the first one are the same one: `timeout` and terminals send it to the process and to its group.
const ECHO: Duration = Duration::from_millis(300);

/// When the time of the run is up, if somebody limited it.
static DEADLINE: OnceLock<SystemTime> = OnceLock::new();

/// Whether a signal asked to stop, or the time is up.
pub fn stopping() -> bool {
    if DEADLINE.get().is_some_and(|deadline| SystemTime::now() >= *deadline) && STOP.set(Instant::now()).is_ok() {
        print::aside("the time is up: stopping after the current step");
    }
    STOP.get().is_some()
}

/// From that time on a stop is asked for. Only the first time counts.
pub fn stop_at(deadline: SystemTime) {
    let _ = DEADLINE.set(deadline);
}

/// From now on the first signal asks for a stop after the current step, and the second ends the process.
///
/// # Errors
/// Fault: the system refuses.
pub fn heed() -> Result<()> {
    system::heed().map_err(|cause| Error::fault(format!("signals cannot be caught: {cause}")))
}

/// From now on an interrupt is left to a program that has the terminal, as a pager has: it knows what Ctrl-C means there.
pub fn leave_interrupts() {
    // Where the system refuses, Ctrl-C ends this program and its reader goes on alone.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default());
}

fn came() {
    let now = Instant::now();
    match STOP.get() {
        Some(first) if now.duration_since(*first) >= ECHO => std::process::exit(STOPPED.into()),
        Some(_) => {}
        None => {
            let _ = STOP.set(now);
            print::aside("stopping after the current step; press again to end at once");
        }
    }
}

#[cfg(unix)]
mod system {
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    pub fn heed() -> io::Result<()> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| !is_ignored(*signal)))?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|_| super::came()))?;
        Ok(())
    }

    /// What the kernel says of this process, which takes no unsafe code.
    #[cfg(target_os = "linux")]
    fn is_ignored(signal: i32) -> bool {
        let status = crate::files::read_to_string(std::path::Path::new("/proc/self/status"));
        status.is_ok_and(|status| super::is_in_mask(&status, signal))
    }

    /// C has no other way to ask than to set it and look at what was there. A signal that arrives in between is lost.
    #[cfg(not(target_os = "linux"))]
    #[expect(unsafe_code, reason = "the standard library cannot ask how a signal is handled")]
    fn is_ignored(number: i32) -> bool {
        unsafe extern "C" {
            fn signal(number: i32, handler: usize) -> usize;
        }
        const SIG_ERR: usize = usize::MAX;
        const SIG_IGN: usize = 1;
        // SAFETY: `signal` may be called at any time, and what it returned may be set again.
        let before = unsafe { signal(number, SIG_IGN) };
        if before != SIG_IGN && before != SIG_ERR {
            // SAFETY: as above.
            unsafe { signal(number, before) };
        }
        before == SIG_IGN
    }
}

#[cfg(not(unix))]
mod system {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;

    pub fn heed() -> std::io::Result<()> {
        let caught = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&caught))?;
        }
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                if caught.swap(false, Ordering::Relaxed) {
                    super::came();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })?;
        Ok(())
    }
}

/// Whether `/proc/self/status` says that a signal is ignored: bit `signal - 1` of a hexadecimal number.
#[cfg(any(target_os = "linux", test))]
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).ok().and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_mask_is_read() {
        let status = "Name:\tdean\nSigCgt:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        let ignored: Vec<i32> = (0..=70).filter(|signal| is_in_mask(status, *signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn:\tx", 1));
    }
}
