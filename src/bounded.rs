//! Work on what strangers wrote, in bounded time, memory and depth: templates, tokenisers, regular expressions, documents.
//!
//! Such work is done by libraries that trust their input. A few hundred bytes can make one run for ever, take all memory, or
//! recurse until the stack ends, and the last two abort the process. So the work runs on a thread of its own, with a large
//! stack, under a meter ([`crate::allocator`]). A thread that goes beyond its limits is stopped for good and left behind, with
//! what it holds, and the caller gets a reason. That is for errors after which a command ends anyway. A library's own limits
//! (fuel, sizes, depths) come first where there are some; this is for what they leave open. Must not know: what is worked on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::allocator::{Meter, Stopped};
use crate::size;

/// What some work may take. Memory is only limited in a program whose allocator is [`crate::allocator::Metered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub time: Duration,
    /// More than what it began with, in bytes.
    pub memory: usize,
}

impl Limits {
    /// For what belongs to a model or a job and is small.
    pub const SMALL: Self = Self { time: Duration::from_secs(4), memory: 256 << 20 };

    /// For input of so many bytes, each of which may take so many bytes of memory.
    pub fn of_input(bytes: usize, times: usize) -> Self {
        let seconds = u64::try_from(bytes / PACE).unwrap_or(u64::MAX);
        Self {
            time: Self::SMALL.time.saturating_add(Duration::from_secs(seconds)),
            memory: Self::SMALL.memory.saturating_add(bytes.saturating_mul(times)),
        }
    }
}

/// Bytes of honest input for which a second is enough, by far, on a slow and busy machine.
const PACE: usize = 128 << 10;

/// Address space for recursion; only what is used takes memory.
const STACK: usize = 256 << 20;

/// How often a thread is looked at that has not answered.
const TICK: Duration = Duration::from_millis(10);

/// Which limit some work went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Time(Duration),
    Memory(usize),
    Depth,
    /// The system starts no thread for it.
    NoThread,
    /// It panicked: a library met what it thought impossible.
    Broken,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(limit) => write!(f, "it takes longer than {} s", limit.as_secs_f64()),
            Self::Memory(limit) => write!(f, "it takes more than {} of memory", size::size(*limit as u64)),
            Self::NoThread => f.write_str("the system starts no thread to read it on (see `ulimit -a`)"),
            Self::Depth => f.write_str("it is nested too deeply"),
            Self::Broken => f.write_str("it breaks the library that reads it"),
        }
    }
}

/// The result of some work within limits.
///
/// # Errors
/// The limit that was met first. Then the thread of the work is never heard of again.
pub fn within<R: Send + 'static>(limits: Limits, work: impl FnOnce() -> R + Send + 'static) -> Result<R, Excess> {
    let meter = Meter::new(limits.memory, STACK);
    let (sender, receiver) = sync_channel(1);
    let worker = std::thread::Builder::new().stack_size(STACK).spawn({
        let meter = meter.clone();
        // Nobody listens any more where it took too long.
        move || drop(sender.send(meter.run(|| catch_unwind(AssertUnwindSafe(work)))))
    });
    if worker.is_err() {
        return Err(Excess::NoThread);
    }
    let begun = Instant::now();
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(Excess::Broken),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match meter.stopped() {
            Some(Stopped::Memory) => return Err(Excess::Memory(limits.memory)),
            Some(Stopped::Stack) => return Err(Excess::Depth),
            None if begun.elapsed() >= limits.time => {
                meter.stop();
                return Err(Excess::Time(limits.time));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_millis(500), memory: 8 << 20 };

    #[test]
    fn what_stays_within_its_limits_gives_its_result() {
        let held = within(LIMITS, || vec![1_u8; 4 << 20]).unwrap();
        assert_eq!(held.len(), 4 << 20);
        // What another thread made may be dropped, and does not count.
        assert_eq!(within(LIMITS, move || held.len()), Ok(4 << 20));
        assert_eq!(within(LIMITS, || (0..100).map(|n| vec![n as u8; 4 << 20].len()).sum::<usize>()), Ok(400 << 20));
    }

    #[test]
    fn what_takes_too_much_memory_is_stopped_before_it_has_it() {
        for doubled in [false, true] {
            let outcome = within(LIMITS, move || {
                if !doubled {
                    return vec![0_u8; 1 << 40].len();
                }
                let mut text = "a".to_owned();
                (0..60).for_each(|_| text = format!("{text}{text}"));
                text.len()
            });
            assert_eq!(outcome, Err(Excess::Memory(LIMITS.memory)));
        }
        assert_eq!(Excess::Memory(8 << 20).to_string(), "it takes more than 8.0 MiB of memory");
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let begun = Instant::now();
        let outcome = within(LIMITS, || {
            // Stopped at its next allocation once nobody waits for it.
            loop {
                std::hint::black_box(vec![0_u8; 100]);
            }
        });
        assert_eq!(outcome, Err::<(), _>(Excess::Time(LIMITS.time)));
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert_eq!(Excess::Time(LIMITS.time).to_string(), "it takes longer than 0.5 s");
    }

    #[test]
    fn recursion_that_allocates_ends_before_the_stack_does() {
        #[expect(unconditional_recursion, reason = "that is what is tested")]
        fn deeper(level: u64) -> u64 {
            let kept = std::hint::black_box(Box::new(level));
            deeper(*kept + 1) + *kept
        }
        let limits = Limits { time: Duration::from_secs(60), memory: usize::MAX };
        assert_eq!(within(limits, || deeper(0)), Err(Excess::Depth));
    }

    #[test]
    fn a_panic_is_an_excess_too() {
        // Telling where it panicked takes time.
        let limits = Limits { time: Duration::from_secs(60), memory: 1 << 30 };
        assert_eq!(within(limits, || panic!("impossible")), Err::<(), _>(Excess::Broken));
    }

    #[test]
    fn input_has_limits_by_its_size() {
        let limits = Limits::of_input(1 << 20, 100);
        assert_eq!((limits.time.as_secs(), limits.memory), (4 + 8, (256 << 20) + (100 << 20)));
        assert!(Limits::of_input(usize::MAX, 100).memory == usize::MAX);
    }
}
