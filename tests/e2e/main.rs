//! The program from outside: the real binary on a tiny model that the tests write themselves, so
//! that nothing is downloaded and nothing outside of the repository is needed.
//!
//! | file | what it proves |
//! | --- | --- |
//! | `answers.rs` | what of an answer is judged, and where it ends |
//! | `cache.rs` | what is computed again, and what is not |
//! | `changes.rs` | inputs that change during a run |
//! | `children.rs` | what other programs are given when they are started |
//! | `damage.rs` | a store whose files are damaged, or in which somebody makes room |
//! | `data.rs` | data files of all kinds, chat data, rows that are too long |
//! | `endpoint.rs` | judges behind an endpoint, which misbehaves |
//! | `export.rs` | patched models leave the store, whole and to the byte |
//! | `init.rs` | a first job in an empty folder |
//! | `judges.rs` | who judges, how it is asked, what is not asked twice |
//! | `kill.rs` | runs that end early go on, and end with the same bytes |
//! | `report.rs` | what variants are compared by, what a report was made of, how it ends |
//! | `runs.rs` | names of runs, and runs that end by the clock |
//! | `show.rs` | what base and variant said, as a person and a program read it |
//! | `signals.rs` | which signals are heeded |
//! | `terminal.rs` | text of others is shown, and never obeyed by the terminal |
//! | `workers.rs` | several runs on one store share the work out |
//! | `questions.rs` | which questions are left out, and which a point is chosen on |
//! | `page.rs` | everything as one page, finished or not, and what strangers wrote in it |
//! | `pins/` | that a stage which comes to other outputs has another version |
//! | `names.rs` | what variants are called, and that it can be typed |
//! | `output.rs` | what `--json` answers has the documented form |
//! | `scoring.rs` | what is scored, on which rows, and how stable that is |
//! | `bad_input.rs` | what a user sees when pipeline, command line or data are wrong, one message after the other |
//! | `bad_model.rs` | the same of models |
//! | `model_files.rs` | what a user sees of models as they lie on disks |
//! | `bad_surroundings.rs` | the same of a machine that does not play along |
//!
//! Must not know: anything inside of the library but its digests.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests set up, spoil and look into directories"
)]

mod answers;
mod bad_input;
mod bad_model;
mod bad_surroundings;
mod cache;
mod changes;
mod children;
mod damage;
mod data;
mod endpoint;
mod export;
mod guards;
mod init;
mod judges;
mod kill;
mod model_files;
mod names;
mod output;
mod page;
mod pins;
mod questions;
mod report;
mod runs;
mod scoring;
mod search;
mod show;
mod signals;
mod support;
mod sweep;
mod terminal;
mod workers;
