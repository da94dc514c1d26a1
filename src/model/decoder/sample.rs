//! One calibration pair as token ids, and how many of them share a batch.
//!
//! Must not know: data sets, text, scores.

/// One calibration pair as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Prompt and response.
    pub ids: Vec<u32>,
    /// The index of the response's first token in `ids`.
    pub response: usize,
}

impl Sample {
    /// The tokens whose prediction counts: those of the response. The very first token is predicted from nothing, so it is
    /// never one of them.
    pub fn labels(&self) -> &[u32] {
        self.ids.get(self.response.max(1)..).unwrap_or_default()
    }

    /// How many tokens are read: all but the last one, which is only a label.
    pub fn inputs(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }
}

/// How many of the next samples share a batch of at most `tokens` tokens: as many as fit, in their order, and at least one.
/// `inputs` are the numbers of tokens that the samples read.
pub fn together(inputs: impl IntoIterator<Item = usize>, tokens: usize) -> usize {
    let mut sum: usize = 0;
    let fit = inputs.into_iter().take_while(|inputs| {
        sum = sum.saturating_add(*inputs);
        sum <= tokens
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_samples_as_fit_and_one_at_least() {
        assert_eq!(together([5, 5, 5], 10), 2);
        assert_eq!(together([5, 5, 5], 9), 1);
        assert_eq!(together([5, 5, 5], 0), 1, "no budget: one by one");
        assert_eq!(together([50, 1], 10), 1, "a long one travels alone");
        assert_eq!(together([1, usize::MAX, 1], 10), 1, "no overflow");
        assert_eq!(together([5, 5], 100), 2);
    }

    #[test]
    fn the_first_token_is_never_a_label_and_the_last_one_never_read() {
        let sample = |response| Sample { ids: vec![1, 2, 3], response };
        assert_eq!((sample(0).labels(), sample(2).labels(), sample(2).inputs()), (&[2, 3][..], &[3][..], 2));
        assert_eq!((sample(9).labels(), Sample { ids: vec![], response: 0 }.inputs()), (&[][..], 0));
    }
}
