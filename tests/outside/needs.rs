//! What a test needs, and how its absence is told.
//!
//! Must not know: what any test wants to prove.

use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Trial};

/// What a test needs, or why that is not here.
pub type Found<T> = Result<T, String>;

/// The folder of shared data.
pub fn shared() -> Found<PathBuf> {
    let path = std::env::var_os("DEAN_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let is_there = path.join("golden").is_dir();
    is_there.then_some(path).ok_or_else(|| "needs the golden data in ../shared or $DEAN_SHARED".into())
}

/// The trials of a file: functions that take what `$need` finds.
macro_rules! tests {
    ($need:expr => $($test:ident),+ $(,)?) => {
        vec![$(crate::needs::trial(concat!(module_path!(), "::", stringify!($test)), $need, $test)),+]
    };
}
pub(crate) use tests;

/// `path` is the function's, with the crate's name in front, as `module_path!` has it.
pub fn trial<T: 'static>(path: &str, need: fn() -> Found<T>, test: fn(T)) -> Trial {
    let name = path.split_once("::").map_or(path, |(_, rest)| rest);
    Trial::ignorable_test(name, move || match need() {
        Ok(found) => {
            test(found);
            Ok(Completion::Completed)
        }
        Err(why) => Ok(Completion::ignored_with(why)),
    })
}
