//! The one setting of mimalloc that matters here. Which allocator is used is the program's choice: `main.rs` and the
//! benchmarks use mimalloc. In a program with another allocator, this file has no effect.
//!
//! The tensors of a layer are allocated and freed in blocks of megabytes, with the same sizes for every layer and sample. The
//! system's allocator returns such blocks to the kernel each time, and mimalloc does so after a while. The kernel then clears
//! every page again, which took 11 % of scoring's time. So freed memory is kept for the next tensor. The peak stays
//! the same, with one exception: the blocks of a model's loading have sizes that nothing later can reuse, so they are given
//! back.
//! Must not know: who allocates.
#![expect(unsafe_code, reason = "the allocator's options are C functions")]

use std::ffi::c_int;

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

/// In unit tests the allocator counts what a thread holds, so that a test can say what something may take.
#[cfg(test)]
pub(crate) mod counting {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::Cell;

    use mimalloc::MiMalloc;

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
            unsafe { MiMalloc.alloc(layout) }
        }
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(layout.size(), 1);
            // SAFETY: as above.
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }
        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size, 1);
            count(layout.size(), -1);
            // SAFETY: as above.
            unsafe { MiMalloc.realloc(pointer, layout, size) }
        }
        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            count(layout.size(), -1);
            // SAFETY: as above.
            unsafe { MiMalloc.dealloc(pointer, layout) }
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
