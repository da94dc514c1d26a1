//! The memory allocator of the whole program, and the one setting of it that matters here.
//!
//! A layer's tensors come and go in pieces of megabytes, the same sizes for every layer and sample. The system's
//! allocator gives such pieces back to the kernel each time, and mimalloc after a while; the kernel clears every page
//! anew. Measured on scoring, clearing took 11 % of the time. So freed memory is kept for the next tensor; the peak is the
//! same, except after loading a model, whose pieces fit nothing that follows: there memory is given back.
//! Must not know: who allocates.
#![expect(unsafe_code, reason = "the allocator's options are C functions")]

use std::ffi::c_int;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// After how many milliseconds freed memory goes back to the system.
const NEVER: std::ffi::c_long = -1;

/// The same during work after which memory is given back: long enough for the next piece to come.
const WHILE_WORKING: std::ffi::c_long = 1000;

/// `mi_option_purge_delay`, which libmimalloc-sys does not name. The test holds it against mimalloc's own default.
const PURGE_DELAY: c_int = 15;

/// Makes the allocator keep freed memory. Called once when the program starts; without it everything works,
/// slower.
pub fn keep_freed_memory() {
    // SAFETY: the option number is one of mimalloc's, and setting an option is allowed at any time from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}

/// Does some work and then gives freed memory back: for work whose pieces are not those of what follows, so that they do
/// not count twice in the peak. While it lasts, pieces are used again. Does nothing of that where freed memory was not
/// kept before.
pub fn giving_back<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: as above.
    let kept = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) } == NEVER;
    if kept {
        // SAFETY: as above. Only what is freed under a delay is ever marked as something to give back.
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
