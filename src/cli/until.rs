//! When a run ends before it is done: after a stage, at a time of day, or when a budget of time is used up.
//!
//! Must not know: how a run stops.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Days, Local, NaiveTime, TimeZone};

use crate::error::{Error, Result};
use crate::stages::REGISTRY;

/// What `--until` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// The last stage that runs.
    Stage(&'static str),
    /// A time of day on the clock of this place.
    Time(NaiveTime),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(time) = NaiveTime::parse_from_str(text, "%H:%M") {
            return Ok(Self::Time(time));
        }
        let stages = || REGISTRY.iter().map(|stage| stage.name());
        stages().find(|name| *name == text).map(Self::Stage).ok_or_else(|| {
            format!(
                "it is neither a stage ({}) nor a time of day such as 07:00",
                stages().collect::<Vec<_>>().join(", ")
            )
        })
    }
}

/// When the clock shows that time next.
///
/// # Errors
/// User: the clock of this place skips it tonight.
pub fn next(time: NaiveTime) -> Result<SystemTime> {
    after(&Local::now(), time)
}

fn after<Zone: TimeZone>(now: &DateTime<Zone>, time: NaiveTime) -> Result<SystemTime> {
    let today = now.date_naive();
    let tomorrow = today.checked_add_days(Days::new(1)).unwrap_or(today);
    [today, tomorrow]
        .into_iter()
        .filter_map(|day| now.timezone().from_local_datetime(&day.and_time(time)).earliest())
        .find(|at| at > now)
        .map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or_default()))
        .ok_or_else(|| {
            Error::user(format!("the clock of this place skips {} in the next night", time.format("%H:%M")))
                .hint("name a time an hour later, or a budget: --budget 8h")
        })
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn a_stage_or_a_time_of_day_is_meant() {
        assert_eq!("score".parse(), Ok(Until::Stage("score")));
        assert_eq!("07:05".parse(), Ok(Until::Time(NaiveTime::from_hms_opt(7, 5, 0).unwrap())));
        for wrong in ["", "25:00", "7", "07:00:00", "scores", "7am"] {
            let told = wrong.parse::<Until>().unwrap_err();
            assert!(told.contains("neither a stage (tokenize, score, ") && told.contains("such as 07:00"), "{told}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let zone = FixedOffset::east_opt(2 * 3600).unwrap();
        let evening = zone.with_ymd_and_hms(2026, 11, 26, 18, 0, 0).unwrap();
        let seconds = |hour, minute| {
            let at = after(&evening, NaiveTime::from_hms_opt(hour, minute, 0).unwrap()).unwrap();
            at.duration_since(SystemTime::from(evening)).unwrap().as_secs()
        };
        assert_eq!((seconds(7, 0), seconds(18, 1), seconds(18, 0)), (13 * 3600, 60, 24 * 3600));
    }
}
