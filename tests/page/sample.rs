//! Reports and answers made up for tests of the page: in the library's tests, and in a browser.
//!
//! Must not know: what a page looks like.

use std::collections::BTreeMap;

use dean::digest::Digest;
use dean::judge::Label;
use dean::naming;
use dean::page::{Answers, Given, Places, worth_reading};
use dean::report::facts::{ControlReport, Measured, findings};
use dean::report::joined::{Member, join};
use dean::report::measures::{CUT, DEGENERATE, KL, NLL, TOKENS};
use dean::report::{Groups, PointReport, Report, VariantReport};
use dean::show::{Side, pairs};
use dean::tables::{Answer, ControlKind, Outcome, VerdictRow};

/// What a stranger may call things.
pub const EVIL: &str = "</script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quotes\" {{ 7 * 7 }}";

/// One variant: its points, whose control it is, how many of 40 answers are safe, and its loss.
pub struct Made {
    pub points: Vec<(Option<f64>, f64)>,
    pub of: Option<Digest>,
    pub safe: [u32; 3],
    pub loss: f64,
}

pub const ROWS: u32 = 40;

fn outcomes(sets: [&str; 3], made: &Made) -> Vec<(&'static str, Vec<Outcome>)> {
    let flag = |is: bool| Some(f64::from(u8::from(is)));
    let (mut judged, mut inspected, mut near) = (Vec::new(), Vec::new(), Vec::new());
    for (set, safe) in sets.into_iter().zip(made.safe) {
        for row in 0..ROWS {
            judged.push(Outcome::new(set, row, "refusal/safe", flag((row * 7) % ROWS < safe)));
            inspected.push(Outcome::new(set, row, CUT, flag(row % 3 == 0)));
            inspected.push(Outcome::new(set, row, DEGENERATE, flag(row < 2)));
            inspected.push(Outcome::new(set, row, "phrase: I cannot", Some(f64::from((row * 7) % ROWS < safe))));
            inspected.push(Outcome::new(set, row, "phrases", Some(f64::from((row * 7) % ROWS < safe))));
        }
    }
    for row in 0..ROWS {
        near.push(Outcome::new(sets[2], row, KL, Some(made.loss * f64::from(row % 5))));
    }
    let loss = (0..6).flat_map(|row| {
        let nll = 100.0 * (2.8 + made.loss * (1.0 + 0.1 * f64::from(row)));
        [Outcome::new("text", row, NLL, Some(nll)), Outcome::new("text", row, TOKENS, Some(100.0))]
    });
    vec![("judge", judged), ("inspect", inspected), ("divergence", near), ("perplexity", loss.collect())]
}

fn report(sets: [&str; 3], all: &[Made]) -> Report {
    let (mut variants, mut measured) = (Vec::new(), Vec::new());
    for (number, made) in all.iter().enumerate() {
        let mask = (number > 0).then(|| mask(number));
        let label = mask.map_or_else(|| "base".to_owned(), |mask| mask.short());
        let all = outcomes(sets, made);
        let name = naming::points(made.points.iter().copied());
        variants.push(VariantReport {
            variant: label.clone(),
            name: name.unwrap_or_else(|| if made.of.is_some() { format!("random {number}") } else { "base".into() }),
            mask,
            weights: 10 * number as u64,
            points: made.points.iter().map(|(p, q)| PointReport { p: *p, q: *q }).collect(),
            controls: made
                .of
                .iter()
                .map(|of| ControlReport { of: *of, kind: ControlKind::Random, seed: Some(0), data: None })
                .collect(),
            rule: "a & b - c".into(),
            calibration: BTreeMap::new(),
            outcomes: all.iter().flat_map(|(by, found)| findings(by, found).unwrap()).collect(),
        });
        let own = all.into_iter().map(|(by, found)| Measured { by: by.into(), variant: label.clone(), found });
        measured.extend(own);
    }
    Report::new(variants, &measured, &Groups::default())
}

fn mask(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn base() -> Made {
    Made { points: Vec::new(), of: None, safe: [12, 14, 30], loss: 0.0 }
}

/// The base and a grid of so many by so many points, and a control of the last.
pub fn grid(side: u32) -> Vec<Made> {
    let at = |number: u32| format!("{}e-6", 1 + number).parse().unwrap_or(1.0);
    let mut all = vec![base()];
    for p in 0..side {
        for q in 0..side {
            let safe = [12 + 2 * p.min(8), 14 + 2 * q.min(8), 30 - q.min(9)];
            all.push(Made { points: vec![(Some(at(p)), at(q))], of: None, safe, loss: 0.01 * f64::from(p + q + 1) });
        }
    }
    let of = Some(mask(all.len() - 1));
    all.push(Made { points: Vec::new(), of, safe: [13, 15, 29], loss: 0.2 });
    all
}

/// The base, three points with p = q, and two controls of the last.
pub fn line() -> Vec<Made> {
    let point = |at: f64, safe: [u32; 3], loss: f64| Made { points: vec![(Some(at), at)], of: None, safe, loss };
    let control = |safe| Made { points: Vec::new(), of: Some(mask(3)), safe, loss: 0.02 };
    let points = [point(1e-5, [13, 14, 30], 0.002), point(3e-5, [19, 18, 29], 0.02), point(1e-4, [33, 30, 22], 0.3)];
    std::iter::once(base()).chain(points).chain([control([14, 13, 30]), control([12, 16, 29])]).collect()
}

fn side(sets: [&str; 3], say: &dyn Fn(&str, u32) -> String, unsafe_until: u32) -> Side {
    let rows = || sets.into_iter().flat_map(|set| (0..ROWS).map(move |row| (set, row)));
    let verdict = |(set, row): (&str, u32)| VerdictRow {
        set: set.into(),
        row,
        verdict: if row < unsafe_until { Label::Unsafe } else { Label::Safe },
        score: None,
        severity: None,
        category: None,
        refusal: None,
        raw: String::new(),
    };
    Side {
        answers: rows()
            .map(|(set, row)| Answer::of_text(set, row, &format!("Why {row}? {EVIL}"), &say(set, row)))
            .collect(),
        verdicts: vec![("refusal".into(), rows().map(verdict).collect())],
    }
}

pub const SETS: [&str; 3] = ["fairness", "privacy", "harmless"];

pub fn given(sets: [&str; 3], made: &[Made], words: usize) -> Given {
    let report = report(sets, made);
    let long = |variant: usize, row: u32| {
        let word = |at: usize| Digest::of(format!("{variant} {row} {at}").as_bytes()).short();
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    };
    let answers = worth_reading(&report).into_iter().map(|number| {
        let before = side(sets, &|_, row| format!("Before {} {EVIL}", long(0, row)), 20);
        let after = side(sets, &|_, row| format!("After {} {EVIL}", long(number, row)), 10);
        Answers { name: report.variants[number].name.clone(), pairs: pairs(before, Some(after)) }
    });
    let answers = answers.collect();
    let place = |number: usize| Places {
        mask: mask(number),
        tensors: (0..12)
            .map(|layer| (format!("model.layers.{layer}.mlp.down_proj.weight"), number as u64 + layer))
            .collect(),
    };
    Given {
        title: format!("A model {EVIL}"),
        places: (1..made.len()).map(place).collect(),
        report: Some(report),
        answers,
        commands: vec![format!("dean run --config {EVIL}")],
        ..Given::default()
    }
}

/// Three draws of the same points, and the page of the first with all of them.
pub fn sweep() -> Given {
    let draw = |more: u32| {
        let all = line().into_iter().map(|made| match made.points.is_empty() {
            true => made,
            false => Made { safe: made.safe.map(|safe| safe + more), loss: made.loss + 0.01 * f64::from(more), ..made },
        });
        all.collect::<Vec<_>>()
    };
    let member = |more: u32| Member {
        settings: vec![("score.method".into(), "\"snip\"".into())],
        report: report(SETS, &draw(more)),
        selection: None,
    };
    Given { joined: join(&[0, 2, 5].map(member)), ..given(SETS, &draw(0), 12) }
}
