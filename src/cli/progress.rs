//! What a run shows while it works: bars for a person who watches, plain lines for a log.
//!
//! Must not know: what the nodes do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::format;
use super::print;
use crate::engine::{Observer, Range, Total};
use crate::naming;
use crate::store::Owner;

/// Seconds below which nobody needs to know how long all will take.
const WORTH_TELLING: f64 = 5.0;
/// At most one line of progress in this time.
const PAUSE: Duration = Duration::from_secs(10);
/// How often the bars are drawn anew, so that a person sees that time goes by.
const TICK: Duration = Duration::from_millis(250);

const ALL: &str = "{prefix:29!} [{bar:8}] {pos} of {len} nodes, {elapsed}{msg}";
const ONE: &str = "{prefix:29!} [{bar:8}] {msg}";
/// How many characters of a node's name the bar has room for.
const PREFIX: usize = 29;

/// How far one node is in one of its units, and since when.
struct Pace {
    node: String,
    unit: String,
    /// Where it stood when it was first seen: what was done before says nothing of the rate.
    from: u64,
    since: Instant,
    told: Instant,
}

impl Pace {
    fn new(node: &str, unit: &str, done: u64) -> Self {
        let now = Instant::now();
        Self { node: node.into(), unit: unit.into(), from: done, since: now, told: now }
    }

    /// `12 of 32 samples, 3.1/s, 7 s left`
    fn text(&self, done: u64, total: u64) -> String {
        let worked = done.saturating_sub(self.from);
        let rate = rate(worked, total.saturating_sub(done), self.since.elapsed().as_secs_f64());
        let comma = if rate.is_empty() { "" } else { ", " };
        format!("{done} of {total} {}{comma}{rate}", self.unit)
    }
}

/// The pace of a node in a unit, begun anew where either is another. Whether it was.
fn keep_pace<'a>(pace: &'a mut Option<Pace>, node: &str, unit: &str, done: u64) -> (&'a mut Pace, bool) {
    let anew = !pace.as_ref().is_some_and(|pace| pace.node == node && pace.unit == unit);
    if anew {
        *pace = None;
    }
    (pace.get_or_insert_with(|| Pace::new(node, unit, done)), anew)
}

/// `3.1/s, 7 s left`: from what was done in some seconds and what is left; empty while nothing was done.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rough number"
)]
fn rate(done: u64, left: u64, seconds: f64) -> String {
    if done == 0 || seconds <= 0.0 {
        return String::new();
    }
    let rate = done as f64 / seconds;
    let digits = if rate < 0.0995 {
        3
    } else if rate < 99.5 {
        1
    } else {
        0
    };
    format!("{rate:.digits$}/s, {} left", format::long((left as f64 / rate).ceil() as u64))
}

/// What the whole run will still take, as it was known at some moment.
struct Left {
    seconds: Range,
    /// Stages of which nobody knows.
    more: bool,
    told: Instant,
}

impl Left {
    fn of(total: &Total) -> Self {
        Self { seconds: total.seconds, more: !total.unknown.is_empty(), told: Instant::now() }
    }

    /// `about 2 h 04 min left (1 h 50 min to 2 h 30 min)`; nothing where nothing is known.
    fn text(&self, in_full: bool) -> Option<String> {
        let gone = self.told.elapsed().as_secs_f64();
        let long = |seconds: f64| format::rough((seconds - gone).max(0.0));
        let Range { expected, low, high } = self.seconds;
        if expected < WORTH_TELLING {
            return None;
        }
        let about = if self.more { "more than" } else { "about" };
        let range = if in_full && !self.more { format!(" ({} to {})", long(low), long(high)) } else { String::new() };
        Some(format!("{about} {} left{range}", long(expected)))
    }
}

/// Whom a run waits for, and until when.
fn waiting_for(owner: &Owner) -> String {
    let until = match owner.patience {
        None => "if that ends, this run takes over at once".into(),
        Some(seconds) => format!("without a sign of life from it in the next {seconds} s, this run takes over"),
    };
    format!("waiting for {owner}, which computes it; {until}")
}

/// What a note says; those of the plan are warnings.
fn tell_note(node: &str, text: &str) {
    if node == "plan" { print::warning(text) } else { print::aside(format_args!("{node}: {text}")) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plain lines on standard error.
#[derive(Default)]
pub struct Lines {
    quiet: bool,
    state: Mutex<Told>,
}

/// What was told so far.
#[derive(Default)]
struct Told {
    /// Of the node that runs: its number and the number of all.
    place: (usize, usize),
    pace: Option<Pace>,
    left: Option<Left>,
    /// The node that another process computes, which is said once.
    waiting: String,
}

impl Lines {
    pub fn new() -> Self {
        Self::default()
    }

    /// Only notes.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            print::aside(text);
        }
    }
}

impl Observer for Lines {
    fn started(&self, node: &str, position: usize, total: usize) {
        let mut state = locked(&self.state);
        state.place = (position, total);
        let left =
            state.left.as_ref().and_then(|left| left.text(true)).map_or(String::new(), |left| format!("; {left}"));
        self.say(&format!("[{position}/{total}] {node}{left}"));
    }

    fn left(&self, total: &Total) {
        locked(&self.state).left = Some(Left::of(total));
    }

    fn progress(&self, node: &str, done: u64, total: u64, unit: &str) {
        let mut state = locked(&self.state);
        let (pace, _) = keep_pace(&mut state.pace, node, unit, done);
        if pace.told.elapsed() >= PAUSE {
            pace.told = Instant::now();
            self.say(&format!("{node}: {}", pace.text(done, total)));
        }
    }

    fn note(&self, node: &str, text: &str) {
        tell_note(node, text);
    }

    fn waiting(&self, node: &str, owner: &Owner) {
        let mut state = locked(&self.state);
        if state.waiting != node {
            state.waiting = node.into();
            self.say(&format!("{node}: {}", waiting_for(owner)));
        }
    }

    fn finished(&self, node: &str, seconds: f64) {
        let (position, total) = locked(&self.state).place;
        self.say(&format!("[{position}/{total}] {node} done in {}", format::seconds(seconds)));
    }

    fn shared(&self, node: &str) {
        self.say(&format!("{node}: computed by another process meanwhile"));
    }
}

/// Two bars on a terminal: all nodes, and the one that runs. They appear with the first thing to show.
#[derive(Default)]
pub struct Bars {
    state: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    told: Told,
    /// All nodes, and the one that runs.
    bars: Option<(ProgressBar, ProgressBar)>,
}

impl Bars {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Shown {
    fn tell_left(&mut self) {
        let left = self.told.left.as_ref().and_then(|left| left.text(false));
        let (all, _) = self.bars();
        all.set_message(left.map_or(String::new(), |left| format!(", {left}")));
    }

    fn bars(&mut self) -> &(ProgressBar, ProgressBar) {
        self.bars.get_or_insert_with(|| {
            let bar = |template| {
                let bar = print::bars().add(ProgressBar::no_length());
                bar.set_style(style(template));
                bar
            };
            let (all, one) = (bar(ALL), bar(ONE));
            all.set_prefix("all");
            all.set_length(0);
            all.enable_steady_tick(TICK);
            (all, one)
        })
    }
}

/// A node in front of its bar. Where there is no room for the mask behind it, it is left out.
fn prefix(node: &str) -> String {
    let short = if node.chars().count() > PREFIX { naming::without_mask(node) } else { node };
    print::visible(short).into_owned()
}

/// A bar's style. A template that is wrong would fall back to indicatif's own; a test sees to it that none is.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Observer for Bars {
    fn started(&self, node: &str, position: usize, total: usize) {
        let mut shown = locked(&self.state);
        shown.told.place = (position, total);
        shown.told.pace = None;
        let (all, one) = shown.bars();
        all.set_length(total as u64);
        all.set_position(position.saturating_sub(1) as u64);
        one.set_prefix(prefix(node));
        one.set_length(1);
        one.set_position(0);
        one.set_message("");
    }

    fn progress(&self, node: &str, done: u64, total: u64, unit: &str) {
        let mut shown = locked(&self.state);
        let (pace, anew) = keep_pace(&mut shown.told.pace, node, unit, done);
        let text = pace.text(done, total);
        let (_, one) = shown.bars();
        if anew {
            one.set_prefix(prefix(node));
            one.set_length(total);
        }
        one.set_position(done);
        one.set_message(print::visible(&text).into_owned());
        shown.tell_left();
    }

    fn left(&self, total: &Total) {
        let mut shown = locked(&self.state);
        shown.told.left = Some(Left::of(total));
        shown.tell_left();
    }

    fn note(&self, node: &str, text: &str) {
        tell_note(node, text);
    }

    fn waiting(&self, node: &str, owner: &Owner) {
        let mut shown = locked(&self.state);
        if shown.told.waiting != node {
            shown.told.waiting = node.into();
            print::aside(format_args!("{node}: {}", waiting_for(owner)));
        }
    }

    fn finished(&self, node: &str, seconds: f64) {
        let mut shown = locked(&self.state);
        let (position, total) = shown.told.place;
        let (all, _) = shown.bars();
        all.set_position(position as u64);
        let width = total.to_string().len();
        print::aside(format_args!("[{position:>width$}/{total}] {node:<36}  {}", format::seconds(seconds)));
    }

    fn shared(&self, node: &str) {
        print::aside(format_args!("{node}: computed by another process meanwhile"));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some((all, one)) = locked(&self.state).bars.take() {
            one.finish_and_clear();
            all.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_told_for_whom_and_how_long() {
        let owner = |patience| Owner { host: "node7".into(), pid: 42, since: "2026-01-02T03:04:05Z".into(), patience };
        insta::assert_snapshot!(waiting_for(&owner(None)), @"waiting for process 42 on node7 (since 2026-01-02T03:04:05Z), which computes it; if that ends, this run takes over at once");
        insta::assert_snapshot!(waiting_for(&owner(Some(30))), @"waiting for process 42 on node7 (since 2026-01-02T03:04:05Z), which computes it; without a sign of life from it in the next 30 s, this run takes over");
    }

    #[test]
    fn templates_are_understood() {
        for template in [ALL, ONE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn of_a_long_name_the_mask_goes_first() {
        assert_eq!(prefix("generate[p=q=1e-5] (a77a2cfe)"), "generate[p=q=1e-5] (a77a2cfe)");
        assert_eq!(prefix("perplexity[p=3e-3 q=5e-2 +1] (a77a2cfe)"), "perplexity[p=3e-3 q=5e-2 +1]");
    }

    #[test]
    fn rates_have_the_digits_that_matter() {
        assert_eq!(rate(31, 22, 10.0), "3.1/s, 8 s left");
        assert_eq!(rate(1, 10, 20.0), "0.050/s, 3 min 20 s left");
        assert_eq!(rate(4_000, 100_000, 10.0), "400/s, 4 min 10 s left");
        assert_eq!(rate(0, 10, 5.0), "");
        assert_eq!(rate(5, 0, 0.0), "");
    }

    #[test]
    fn what_was_done_before_says_nothing_of_the_rate() {
        let mut pace = None;
        assert!(keep_pace(&mut pace, "score[a]", "samples", 20).1);
        let (pace, anew) = keep_pace(&mut pace, "score[a]", "samples", 21);
        assert!(!anew);
        assert_eq!(pace.from, 20);
        assert!(pace.text(20, 32).starts_with("20 of 32 samples"));
    }
}
