//! The allocator: mimalloc with the one setting that matters here, and with a meter for threads that read what strangers
//! wrote. Which allocator is used is the program's choice: `main.rs` uses [`Metered`] and the benchmarks mimalloc. In a
//! program with another allocator, this file has no effect.
//!
//! The tensors of a layer are allocated and freed in blocks of megabytes, with the same sizes for every layer and sample. The
//! system's allocator returns such blocks to the kernel each time, and mimalloc does so after a while. The kernel then clears
//! every page again, which took 11 % of scoring's time. So freed memory is kept for the next tensor. The peak stays
//! the same, with one exception: the blocks of a model's loading have sizes that nothing later can reuse, so they are given
//! back.
//! Must not know: who allocates.
#![expect(unsafe_code, reason = "an allocator is unsafe code, and mimalloc's options are C functions")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mimalloc::MiMalloc;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// After how many milliseconds freed memory goes back to the system.
const NEVER: std::ffi::c_long = -1;

/// The same while work runs after which memory is given back. It is long enough for the next allocation to come.
const WHILE_WORKING: std::ffi::c_long = 1000;

/// `mi_option_purge_delay`, which libmimalloc-sys does not name. The test compares it with mimalloc's own default.
const PURGE_DELAY: c_int = 15;

/// Makes mimalloc keep freed memory. Called once when the program starts. Without it everything works, slower.
pub fn keep_freed_memory() {
    // SAFETY: the option number is one of mimalloc's, and setting an option is allowed at any time from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}

/// Runs `work` and then gives freed memory back to the system. This is for work whose blocks nothing later can reuse, so that
/// they do not add to the peak. While it runs, freed blocks are reused. If [`keep_freed_memory`] was not called, this only
/// runs `work`.
pub fn giving_back<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: as above.
    let kept = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) } == NEVER;
    if kept {
        // SAFETY: as above. mimalloc gives back only what was freed while there was a delay.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, WHILE_WORKING) };
    }
    let result = work();
    if kept {
        // SAFETY: collecting is allowed at any time from any thread.
        unsafe { libmimalloc_sys::mi_collect(true) };
        keep_freed_memory();
    }
    result
}

/// The program's allocator: mimalloc, with a meter for threads that are told what they may take.
///
/// A library that asks for too much memory, or recurses until its stack ends, cannot be stopped from outside: running out of
/// either aborts the process, and a thread cannot be killed. But every such library comes here again and again. Here the
/// thread is stopped for good: it sleeps for ever, what it holds stays held, and whoever waits for it is told why. Nothing is
/// unwound, and the allocator keeps its promises. `bounded.rs` is the one that uses it.
pub struct Metered;

/// Why a thread was stopped.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Memory = 1,
    Stack = 2,
}

/// What a thread may take, shared with whoever waits for it.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: isize,
    stack: usize,
    /// 0, a [`Stopped`], or [`WANTED`].
    state: AtomicU8,
}

/// The thread is to stop at its next allocation.
const WANTED: u8 = 3;

/// What is left of a stack for the work between two allocations.
const RESERVE: usize = 1 << 20;

thread_local! {
    /// The meter of this thread, or null.
    static METER: Cell<*const Meter> = const { Cell::new(null()) };
    /// Bytes that this thread holds since its meter began.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The lowest address that its stack may come to.
    static FLOOR: Cell<usize> = const { Cell::new(0) };
}

impl Meter {
    /// `stack` is the size of the thread's stack.
    pub fn new(bytes: usize, stack: usize) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.try_into().unwrap_or(isize::MAX), stack, state: AtomicU8::new(0) })
    }

    /// Runs `work` on this thread, which must be new, with a stack of the size that was given. It may never return.
    pub fn run<R>(self: Arc<Self>, work: impl FnOnce() -> R) -> R {
        HELD.set(0);
        FLOOR.set(here().saturating_sub(self.stack.saturating_sub(RESERVE)));
        METER.set(Arc::as_ptr(&self));
        let result = work();
        // The work caught its panics, or the thread ends with this one: nothing is metered after it.
        METER.set(null());
        result
    }

    /// Why the thread was stopped, if it was.
    pub fn stopped(&self) -> Option<Stopped> {
        match self.state.load(Ordering::Acquire) {
            1 => Some(Stopped::Memory),
            2 => Some(Stopped::Stack),
            _ => None,
        }
    }

    /// Stops the thread at its next allocation.
    pub fn stop(&self) {
        let _ = self.state.compare_exchange(0, WANTED, Ordering::AcqRel, Ordering::Acquire);
    }

    fn stop_here(&self, why: u8) {
        // What is told of a panic goes through locks that others need.
        if std::thread::panicking() {
            return;
        }
        let _ = self.state.compare_exchange(0, why, Ordering::AcqRel, Ordering::Acquire);
        loop {
            // Sleeping allocates nothing.
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

/// An address near the end of the stack in use. Stacks grow downwards wherever this program runs.
#[inline(always)]
fn here() -> usize {
    let mark = 0_u8;
    (&raw const mark).addr()
}

/// Counts bytes that were asked for, or given back, if this thread has a meter. May not return.
#[inline]
fn count(bytes: isize) {
    let meter = METER.get();
    if !meter.is_null() {
        // SAFETY: set by `Meter::run`, which holds the meter as long as it is set.
        count_metered(unsafe { &*meter }, bytes);
    }
}

fn count_metered(meter: &Meter, bytes: isize) {
    let held = HELD.get().saturating_add(bytes);
    HELD.set(held);
    if bytes < 0 {
        return;
    }
    if held > meter.bytes {
        meter.stop_here(Stopped::Memory as u8);
    }
    if here() < FLOOR.get() {
        meter.stop_here(Stopped::Stack as u8);
    }
    if meter.state.load(Ordering::Relaxed) == WANTED {
        meter.stop_here(WANTED);
    }
}

fn signed(layout: Layout) -> isize {
    layout.size().cast_signed()
}

// SAFETY: everything is mimalloc's; the meter is made of plain cells of this thread and allocates nothing.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout));
        // SAFETY: the caller's promise is passed on, here and below.
        unsafe { MiMalloc.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout));
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are held for a moment.
        count(size.cast_signed());
        count(-signed(layout));
        // SAFETY: as above.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout));
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

/// In unit tests the allocator also counts what a thread holds, so that a test can say what something may take.
#[cfg(test)]
pub(crate) mod counting {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::Cell;

    use super::Metered;

    pub struct Counting;

    thread_local! {
        static HELD: Cell<isize> = const { Cell::new(0) };
        static PEAK: Cell<isize> = const { Cell::new(0) };
    }

    fn count(bytes: usize, sign: isize) {
        let held = HELD.get() + sign * bytes.cast_signed();
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
    }

    // SAFETY: everything is mimalloc's; the counters are plain cells of this thread and allocate nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size(), 1);
            // SAFETY: the caller's promise is passed on, here and below.
            unsafe { Metered.alloc(layout) }
        }
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(layout.size(), 1);
            // SAFETY: as above.
            unsafe { Metered.alloc_zeroed(layout) }
        }
        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size, 1);
            count(layout.size(), -1);
            // SAFETY: as above.
            unsafe { Metered.realloc(pointer, layout, size) }
        }
        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            count(layout.size(), -1);
            // SAFETY: as above.
            unsafe { Metered.dealloc(pointer, layout) }
        }
    }

    /// The result of some work, and how many bytes more than before this thread held at most meanwhile. A growing
    /// vector counts twice for a moment.
    pub fn peak<R>(work: impl FnOnce() -> R) -> (R, usize) {
        let before = HELD.get();
        PEAK.set(before);
        let result = work();
        (result, (PEAK.get() - before).unsigned_abs())
    }

    #[test]
    fn what_was_held_at_most_is_counted() {
        let (length, most) = peak(|| {
            let length = vec![1_u8; 3 << 20].len();
            vec![0_u64; 1 << 20].len() + length
        });
        assert_eq!(length, 4 << 20);
        assert!((8 << 20..9 << 20).contains(&most), "{most}");
        assert_eq!(peak(|| ()).1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: as above.
        let read = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            assert_eq!(read(), 1000, "mimalloc 3 purges after a second; another value is another option");
        }
        assert_eq!(giving_back(read), read(), "what was not kept is left alone");
        keep_freed_memory();
        assert_eq!((read(), giving_back(read), read()), (NEVER, WHILE_WORKING, NEVER));
    }
}
