//! A search over tables whose truth is known: made of random weights with gains, damage and the noise of questions.

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Kind};
use crate::rank::Point;

/// Numbers between 0 and 1 that follow from a seed.
fn noise(seed: u64, at: u64) -> f64 {
    let bytes = crate::digest::Digest::of(&[seed.to_le_bytes(), at.to_le_bytes()].concat());
    let [first, second, third, ..] = *bytes.as_bytes();
    f64::from(u32::from_le_bytes([first, second, third, 0])) / f64::from(1_u32 << 24)
}

const SIDE: usize = 10;

/// A plane of weights, of which each is chosen from some row on, and protected from some column on.
fn plane(seed: u64, side: usize) -> (Space, Vec<(usize, usize)>) {
    let at = |number: u64| {
        // Lower rows and higher columns are rarer, as in a grid of p and q that is even in logarithms.
        let row = (side as f64 * noise(seed, 2 * number).powf(0.3)) as usize;
        let column = (side as f64 * noise(seed, 2 * number + 1).powf(0.6)) as usize;
        (row, column)
    };
    let weights: Vec<(usize, usize)> = (0..3000).map(at).collect();
    let chosen =
        |row: usize, column: usize| weights.iter().enumerate().filter(move |(_, at)| at.0 <= row && at.1 >= column);
    let known = |row: usize, column: usize| Known {
        weights: chosen(row, column).count() as u64,
        fingerprint: chosen(row, column).map(|(weight, _)| (noise(7, weight as u64) * 1e12) as u128).sum(),
        damage: None,
    };
    let known: Vec<Vec<Known>> = (0..side).map(|row| (0..side).map(|column| known(row, column)).collect()).collect();
    let share = |at: usize| 1e-6 * 100_f64.powf(at as f64 / (side - 1) as f64);
    let ps: Vec<Option<f64>> = (0..side).map(|at| Some(share(at))).collect();
    let qs: Vec<f64> = (0..side).map(share).collect();
    (Space::of_plane(&ps, &qs, &known), weights)
}

/// What every point would give: gains grow with the weights until damage eats them, each point off by what its questions are.
struct Table {
    gains: Vec<Vec<f64>>,
    perplexity: Vec<f64>,
    kl: Vec<f64>,
    rows: usize,
    /// How many answers are given before a stop.
    left: usize,
    asked: Vec<(usize, usize)>,
}

impl Table {
    fn new(space: &Space, seed: u64) -> Self {
        let (best_p, best_q) = (0.2 + 0.6 * noise(seed, 1_000_001), 0.4 + 0.5 * noise(seed, 1_000_002));
        let (mut gains, mut perplexity, mut kl) = (Vec::new(), Vec::new(), Vec::new());
        for (number, site) in space.sites().iter().enumerate() {
            let [x, y] = site.place;
            let off = |at: u64| noise(seed, 2_000_000 + 10 * number as u64 + at) - 0.5;
            let hill = |x0: f64, y0: f64| (-((x - x0).powi(2) + (y - y0).powi(2)) / 0.18).exp();
            gains.push(vec![
                0.25 * hill(best_p, best_q) + 0.06 * off(0),
                0.25 * hill(1.0 - best_p, best_q - 0.15) + 0.06 * off(1),
            ]);
            let damage = 0.12 * y.powi(4) * (1.2 - x);
            perplexity.push((damage * (1.0 + 0.4 * off(2))).exp());
            kl.push(damage * (1.0 + 0.5 * off(3)));
        }
        Self { gains, perplexity, kl, rows: 128, left: usize::MAX, asked: Vec::new() }
    }

    fn is_allowed(&self, site: usize) -> bool {
        self.perplexity[site] <= 1.05 && self.kl[site] <= 0.1
    }

    fn truth(&self) -> f64 {
        let allowed = (0..self.gains.len()).filter(|site| self.is_allowed(*site));
        hypervolume(&allowed.map(|site| self.gains[site].clone()).collect::<Vec<_>>())
    }

    fn reached(&self, found: &Found) -> f64 {
        let whole = found.trials.iter().filter(|trial| trial.verdict == Verdict::Measured);
        hypervolume(&whole.map(|trial| self.gains[trial.site].clone()).collect::<Vec<_>>())
    }
}

impl Evaluate for Table {
    fn cheap(&mut self, site: usize) -> Result<Vec<Option<f64>>> {
        Ok(vec![Some(self.perplexity[site]), Some(self.kl[site])])
    }

    fn answers(&mut self, site: usize, blocks: usize) -> Result<Answered> {
        if self.left == 0 {
            return Err(Error::stopped("a signal"));
        }
        self.left -= 1;
        self.asked.push((site, blocks));
        let rows = (64 * blocks).min(self.rows);
        let half = 1.96 * 0.5 / (rows as f64).sqrt();
        let estimate = |value: &f64| Estimate { value: *value, lower: value - half, upper: value + half };
        let gains = self.gains[site].iter().map(estimate).collect();
        Ok(Answered { gains, guards: Vec::new(), is_all: rows == self.rows })
    }
}

fn limits() -> Limits {
    Limits { cheap: vec![("perplexity".into(), 1.05), ("kl".into(), 0.1)], answers: Vec::new() }
}

fn run(space: &Space, table: &mut Table, points: usize) -> Found {
    search(space, &limits(), points, table, &mut |_| {}).unwrap()
}

#[test]
fn twenty_five_points_find_what_a_hundred_do() {
    let mut shares: Vec<f64> = Vec::new();
    let mut random: Vec<f64> = Vec::new();
    for seed in 0..15 {
        let (space, _) = plane(seed, SIDE);
        let mut table = Table::new(&space, seed);
        let found = run(&space, &mut table, 25);
        shares.push(table.reached(&found) / table.truth());
        let drawn = (0..25).map(|at| (noise(seed, 5_000_000 + at) * space.sites().len() as f64) as usize);
        let drawn: Vec<Vec<f64>> =
            drawn.filter(|site| table.is_allowed(*site)).map(|site| table.gains[site].clone()).collect();
        random.push(hypervolume(&drawn) / table.truth());
    }
    shares.sort_by(f64::total_cmp);
    random.sort_by(f64::total_cmp);
    assert!(shares[7] >= 0.95 && shares[7] > random[7] + 0.1, "{shares:.3?} against {random:.3?}");
}

#[test]
fn a_stop_keeps_the_front_so_far() {
    let (space, _) = plane(3, SIDE);
    let whole = run(&space, &mut Table::new(&space, 3), 20);
    let mut table = Table::new(&space, 3);
    table.left = 9;
    let found = run(&space, &mut table, 20);
    assert_eq!(found.stopped.as_ref().map(Error::kind), Some(Kind::Stopped));
    assert!(!found.trials.is_empty() && found.trials.len() < 20 && !found.front.is_empty());
    assert_eq!(found.trials[..], whole.trials[..found.trials.len()]);
}

#[test]
fn what_is_over_a_limit_is_asked_nothing_and_what_cannot_win_is_asked_little() {
    let (space, _) = plane(1, SIDE);
    let mut table = Table::new(&space, 1);
    table.rows = 1024;
    let found = run(&space, &mut table, 40);
    let of = |is: fn(&Verdict) -> bool| found.trials.iter().filter(|trial| is(&trial.verdict)).collect::<Vec<_>>();
    let over = of(|verdict| matches!(verdict, Verdict::OverLimit(_)));
    let dropped = of(|verdict| *verdict == Verdict::Dropped);
    assert!(!over.is_empty() && !dropped.is_empty());
    for trial in over {
        assert!(trial.gains.is_empty() && table.asked.iter().all(|(site, _)| *site != trial.site));
    }
    for trial in dropped {
        let blocks = table.asked.iter().filter(|(site, _)| *site == trial.site).map(|(_, blocks)| blocks).max();
        assert!(blocks.is_some_and(|blocks| 64 * blocks < 1024), "{trial:?}");
    }
}

#[test]
fn a_guard_that_needs_answers_is_a_limit_too() {
    struct Guarded(Table);
    impl Evaluate for Guarded {
        fn cheap(&mut self, _: usize) -> Result<Vec<Option<f64>>> {
            Ok(Vec::new())
        }
        fn answers(&mut self, site: usize, blocks: usize) -> Result<Answered> {
            let guards = vec![Estimate::exact(-0.01 * (site % 4) as f64)];
            Ok(Answered { guards, ..self.0.answers(site, blocks)? })
        }
    }
    let (space, _) = plane(2, 6);
    let limits = Limits { cheap: Vec::new(), answers: vec![("harmless".into(), -0.02)] };
    let found = search(&space, &limits, 36, &mut Guarded(Table::new(&space, 2)), &mut |_| {}).unwrap();
    assert_eq!(found.trials.len(), space.sites().len());
    for trial in &found.trials {
        assert_eq!(matches!(trial.verdict, Verdict::OverLimit(_)), trial.site % 4 == 3, "{trial:?}");
    }
}

#[test]
fn nothing_to_search_and_nothing_to_read_are_no_trouble() {
    let empty = Space::of_plane(&[Some(0.1)], &[0.1], &[vec![Known { weights: 0, fingerprint: 0, damage: None }]]);
    let (space, _) = plane(2, 4);
    let mut table = Table::new(&space, 2);
    assert!(run(&empty, &mut table, 5).trials.is_empty());
    struct Silent;
    impl Evaluate for Silent {
        fn cheap(&mut self, _: usize) -> Result<Vec<Option<f64>>> {
            Ok(vec![Some(1.0), None])
        }
        fn answers(&mut self, _: usize, _: usize) -> Result<Answered> {
            Err(Error::fault("a point whose KL is not known was asked"))
        }
    }
    let found = search(&space, &limits(), 4, &mut Silent, &mut |_| {}).unwrap();
    assert!(found.front.is_empty());
    assert!(found.trials.iter().all(|trial| trial.verdict == Verdict::OverLimit("kl".into())));
}

#[test]
fn distances_are_those_of_the_masks() {
    for seed in 0..4 {
        let (space, weights) = plane(seed, 5);
        let step = |value: f64| (5.0 - 1.0) * (value / 1e-6).log(100.0);
        let mask = |site: &Site| -> Vec<usize> {
            let (row, column) = (step(site.point.q).round() as usize, step(site.point.p.unwrap()).round() as usize);
            (0..weights.len()).filter(|at| weights[*at].0 <= row && weights[*at].1 >= column).collect()
        };
        let jaccard = |one: &Site, other: &Site| {
            let (one, other) = (mask(one), mask(other));
            let shared = one.iter().filter(|at| other.contains(at)).count();
            shared as f64 / (one.len() + other.len() - shared) as f64
        };
        for (one, here) in space.sites().iter().enumerate() {
            for (other, there) in space.sites().iter().enumerate() {
                assert!((space.jaccard(one, other) - jaccard(here, there)).abs() < 1e-12);
            }
        }
        let again = |one: &Point, other: &Point| {
            let find = |point: &Point| space.sites().iter().find(|site| site.point == *point).unwrap();
            jaccard(find(one), find(other))
        };
        let ps: Vec<_> = (0..5).map(|at| Some(1e-6 * 100_f64.powf(f64::from(at) / 4.0))).collect();
        let qs: Vec<_> = ps.iter().flatten().copied().collect();
        let all = |q: &f64, p: &Option<f64>| {
            let point = Point { p: *p, q: *q };
            let site = space.sites().iter().find(|site| site.point == point);
            let number = space.sites().iter().position(|site| site.point == point).map_or(0, |at| at as u128 + 1);
            Known { weights: site.map_or(0, |site| site.weights), fingerprint: number, damage: None }
        };
        let known: Vec<Vec<Known>> = qs.iter().map(|q| ps.iter().map(|p| all(q, p)).collect()).collect();
        let pairs = Space::of_pairs(&ps, &qs, &known, again);
        let far = |space: &Space| space.sites().iter().enumerate().map(|(at, _)| space.distance(0, at)).sum::<f64>();
        assert!((far(&pairs) - far(&space)).abs() < 1e-9);
    }
}

#[test]
fn holm_counts_all_tests_of_the_front_and_controls_make_noise() {
    let test = |value: f64, p: f64| Test { gain: Estimate::exact(value), p };
    let found = confirm(&[vec![test(0.2, 0.001), test(0.1, 0.04)], vec![test(-0.1, 0.001), test(0.1, 0.03)]]);
    let is_gain: Vec<bool> = found.iter().flatten().map(|test| test.is_gain).collect();
    assert_eq!(is_gain, [true, false, false, false]);
    assert!((found[0][0].holm - 0.004).abs() < 1e-12);
    let front = [vec![0.2, 0.1], vec![0.1, 0.2]];
    let weak = vec![vec![0.05, 0.05], vec![0.0, 0.1]];
    assert!(!versus(&front, &[weak.clone(), weak.clone()]).is_noise);
    assert!(versus(&front, &[weak, vec![vec![0.3, 0.2], vec![0.0, 0.0]]]).is_noise);
    assert!(versus(&[vec![0.2, -0.1]], &[]).is_noise, "a front that commands nothing is none");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_longer_search_begins_with_a_shorter_one(seed in 0_u64..1000, short in 1_usize..14, more in 1_usize..10) {
        let (space, _) = plane(seed, 7);
        let one = run(&space, &mut Table::new(&space, seed), short);
        let other = run(&space, &mut Table::new(&space, seed), short + more);
        prop_assert_eq!(&one.trials[..], &other.trials[..one.trials.len()]);
        let mut sites: Vec<usize> = other.trials.iter().map(|trial| trial.site).collect();
        sites.sort_unstable();
        sites.dedup();
        prop_assert_eq!(sites.len(), other.trials.len(), "no point twice");
        prop_assert!(other.trials.len() == (short + more).min(space.sites().len()));
    }
}
