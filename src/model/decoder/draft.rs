//! What a sequence probably says next, where a similar model's answer to the same prompt is known.
//!
//! The known answer is the draft. Tokens of it are supposed to follow, and read together in one pass, which shows up to where
//! they are right. So a draft decides how many passes an answer takes, and never what the answer is. Where the answer leaves
//! the draft, the two may meet again further on. Must not know: models, prompts, caches.

/// The rows whose products cost as much as reading the weights for them, on the processors of today. A pass has this price,
/// in rows, however few rows it has.
const PASS: f64 = 8.0;

/// The tokens in a row at which an answer and its draft meet again.
const MEETING: usize = 3;

/// Tokens at most that are supposed at once.
const MOST: usize = 64;

/// How often tokens of drafts were right.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    right: f64,
    wrong: f64,
}

impl Record {
    /// What is believed before anything was seen.
    pub const UNKNOWN: Self = Self { right: 4.0, wrong: 1.0 };

    fn share(self) -> f64 {
        self.right / (self.right + self.wrong)
    }

    fn saw(&mut self, right: bool) {
        *(if right { &mut self.right } else { &mut self.wrong }) += 1.0;
    }
}

/// The draft of one sequence.
#[derive(Clone, Debug)]
pub struct Draft {
    ids: Vec<u32>,
    /// The place of the token that should follow; none where the answer has left the draft.
    next: Option<usize>,
    own: Record,
}

impl Draft {
    pub fn new(ids: Vec<u32>) -> Self {
        Self { next: (!ids.is_empty()).then_some(0), ids, own: Record { right: 0.0, wrong: 0.0 } }
    }

    /// The tokens that are worth reading with the next pass, at most `most`. A token that turns out right saves a row of a
    /// later pass, and its share of a pass among `sequences`; a wrong one was computed for nothing. So tokens are supposed as
    /// long as it is likely enough that all of them are right. `others` is what the drafts of all sequences showed.
    pub fn supposed(&self, most: usize, sequences: usize, others: Record) -> &[u32] {
        let Some(next) = self.next else { return &[] };
        #[expect(clippy::cast_precision_loss, reason = "a few sequences")]
        let enough = 1.0 / (1.0 + PASS / sequences.max(1) as f64);
        // The sequence's own record, to which the others' counts as four tokens.
        let share = others.share();
        let likely =
            Record { right: self.own.right + 4.0 * share, wrong: self.own.wrong + 4.0 * (1.0 - share) }.share();
        let (mut count, mut all) = (0, likely);
        while all > enough && count < most.min(MOST) {
            (count, all) = (count + 1, all * likely);
        }
        &self.ids[next..self.ids.len().min(next + count)]
    }

    /// Compares the last `new` of the tokens that are `written` now with the draft, whether they were supposed or not.
    pub fn learn(&mut self, written: &[u32], new: usize, others: &mut Record) {
        for end in written.len() - new + 1..=written.len() {
            match self.next {
                Some(next) => {
                    let Some(draft) = self.ids.get(next) else { return };
                    let right = *draft == written[end - 1];
                    self.own.saw(right);
                    others.saw(right);
                    self.next = right.then_some(next + 1);
                }
                None => self.next = self.meeting(&written[..end]),
            }
        }
    }

    /// The place behind the draft's tokens that equal the last ones written; of several, the nearest to where the answer is.
    fn meeting(&self, written: &[u32]) -> Option<usize> {
        let last = written.last_chunk::<MEETING>()?;
        let places = self.ids.windows(MEETING).enumerate().filter(|(_, ids)| ids == last);
        places.map(|(place, _)| place + MEETING).min_by_key(|place| place.abs_diff(written.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(draft: &[u32], written: &[u32]) -> (Draft, Record) {
        let (mut draft, mut record) = (Draft::new(draft.to_vec()), Record::UNKNOWN);
        for end in 1..=written.len() {
            draft.learn(&written[..end], 1, &mut record);
        }
        (draft, record)
    }

    #[test]
    fn what_follows_is_supposed_until_the_answer_leaves_the_draft_and_again_where_they_meet() {
        let draft = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let supposed = |written: &[u32]| {
            let (draft, record) = learnt(&draft, written);
            draft.supposed(2, 1, record).to_vec()
        };
        assert_eq!(supposed(&[]), [1, 2]);
        assert_eq!(supposed(&[1, 2]), [3, 4]);
        assert!(supposed(&[1, 9]).is_empty() && supposed(&[1, 9, 4, 5]).is_empty());
        assert_eq!(supposed(&[1, 9, 4, 5, 6]), [7, 8], "three equal tokens are a meeting");
        assert_eq!(supposed(&[1, 9, 4, 5, 6, 7]), [8, 9]);
        assert!(supposed(&draft).is_empty(), "the draft is at its end");
        assert!(Draft::new(Vec::new()).supposed(9, 1, Record::UNKNOWN).is_empty());
    }

    #[test]
    fn of_several_meetings_the_nearest_counts() {
        let (draft, record) = learnt(&[1, 2, 3, 4, 0, 0, 0, 1, 2, 3, 5], &[7, 7, 7, 7, 7, 7, 1, 2, 3]);
        assert_eq!(draft.supposed(1, 1, record), [5]);
    }

    #[test]
    fn the_more_sequences_share_a_pass_the_surer_a_draft_must_be() {
        let long: Vec<u32> = (0..200).collect();
        let count = |sequences: usize, record: Record| Draft::new(long.clone()).supposed(100, sequences, record).len();
        let (good, bad) = (Record { right: 990.0, wrong: 10.0 }, Record { right: 20.0, wrong: 80.0 });
        assert_eq!(count(1, good), MOST);
        assert!(count(96, good) > 0 && count(96, good) < count(16, good) && count(16, good) < MOST);
        assert_eq!((count(16, bad), count(96, Record::UNKNOWN)), (0, 0));
        assert!(count(1, bad) < 3, "alone, a wrong token costs little");
    }

    #[test]
    fn several_tokens_are_learnt_as_one_after_the_other() {
        let (draft, written) = ([1, 2, 3, 4, 5, 6], [1, 2, 9, 4, 5, 6]);
        let (mut at_once, mut record) = (Draft::new(draft.to_vec()), Record::UNKNOWN);
        at_once.learn(&written[..2], 2, &mut record);
        at_once.learn(&written, 4, &mut record);
        let (one_by_one, other) = learnt(&draft, &written);
        assert_eq!((at_once.next, at_once.own.wrong), (one_by_one.next, one_by_one.own.wrong));
        assert_eq!((record.right, record.wrong), (other.right, other.wrong));
    }
}
