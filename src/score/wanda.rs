//! Wanda: |W_ij| · ‖x_j‖₂, the weight times the norm of what it reads (Sun et al. 2023, arXiv 2306.11695).
//!
//! x_j has one value for every token that the model reads in the data set: prompt and response, except for each sample's last
//! token, which is only predicted. The method needs a forward pass and no gradient. As in the paper, there is one norm over
//! all tokens, so a long sample counts for more than a short one. Must not know: how the model is computed.

use std::collections::BTreeMap;

use burn::tensor::{DType, Tensor};

use super::{Method, Reads, Scorer, matrices};
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::Sample;
use crate::model::decoder::tap::{SITES, Tap};
use crate::model::matrix::{MatrixId, Projection};

pub struct Wanda;

impl Method for Wanda {
    fn name(&self) -> &'static str {
        "wanda"
    }

    fn reads(&self) -> Reads {
        Reads { tokens: true, weights: true, seed: false }
    }

    fn start(&self, decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Result<Box<dyn Scorer>> {
        let matrices = matrices(decoder, scored);
        let sums =
            matrices.iter().map(|id| (first_of_site(*id), vec![0.0; decoder.linear(*id).weight.dims()[1]])).collect();
        Ok(Box::new(Norms { matrices, sums }))
    }
}

/// Matrices that share an input keep one sum, under the name of this one.
fn first_of_site(id: MatrixId) -> MatrixId {
    let site = SITES.into_iter().find(|site| site.contains(&id.projection));
    let first = site.and_then(|site| site.first().copied());
    MatrixId { projection: first.unwrap_or(id.projection), ..id }
}

struct Norms {
    matrices: Vec<MatrixId>,
    /// Σ x_j² over the tokens so far, for each input that is read. In f64, so that small addends are not lost.
    sums: BTreeMap<MatrixId, Vec<f64>>,
}

/// Σ x_j² of one sample. The sums stay on the device until the whole sample was read.
struct Squares<'a> {
    wanted: &'a BTreeMap<MatrixId, Vec<f64>>,
    found: Vec<(MatrixId, Tensor<1>)>,
}

impl Tap for Squares<'_> {
    fn wants(&self, id: MatrixId) -> bool {
        self.wanted.contains_key(&first_of_site(id))
    }

    fn input(&mut self, layer: usize, site: &'static [Projection], x: &Tensor<2>) {
        let Some(first) = site.first() else { return };
        let x = x.clone().cast(DType::F32);
        self.found.push((MatrixId::new(layer, *first), (x.clone() * x).sum_dim(0).squeeze_dim::<1>(0)));
    }
}

impl Scorer for Norms {
    fn matrices(&self) -> Vec<MatrixId> {
        self.matrices.clone()
    }

    /// One sample at a time.
    fn group(&self, coming: &[Sample]) -> usize {
        coming.len().min(1)
    }

    fn add(&mut self, decoder: &Decoder, samples: &[Sample]) -> Result<()> {
        for sample in samples {
            let mut squares = Squares { wanted: &self.sums, found: Vec::new() };
            decoder.visit_inputs(&sample.ids[..sample.inputs()], &mut squares)?;
            for (place, found) in squares.found {
                let found = found
                    .try_to_vec_as::<f32>()
                    .map_err(|error| Error::fault(format!("the device did not give its sums back: {error}")))?;
                let Some(sums) = self.sums.get_mut(&place) else { continue };
                sums.iter_mut().zip(found).for_each(|(sum, squares)| *sum += f64::from(squares));
            }
        }
        Ok(())
    }

    /// All sums as little-endian f64, input after input.
    fn snapshot(&self) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.sums.values().flatten().flat_map(|sum| sum.to_le_bytes()).collect()))
    }

    fn restore(&mut self, state: &[u8]) -> bool {
        let (values, rest) = state.as_chunks::<8>();
        if !rest.is_empty() || values.len() != self.sums.values().map(Vec::len).sum::<usize>() {
            return false;
        }
        for (sum, value) in self.sums.values_mut().flatten().zip(values) {
            *sum = f64::from_le_bytes(*value);
        }
        true
    }

    #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
    fn finish(&self, decoder: &Decoder, id: MatrixId) -> Result<Vec<f32>> {
        let sums = self.sums.get(&first_of_site(id));
        let sums = sums.ok_or_else(|| Error::fault(format!("{} was not scored", id.weight())))?;
        let norms: Vec<f64> = sums.iter().map(|sum| sum.sqrt()).collect();
        let weights = decoder.linear(id).weight.to_data();
        let columns = norms.iter().cycle();
        Ok(weights.iter::<f32>().zip(columns).map(|(weight, norm)| (f64::from(weight.abs()) * norm) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::testing::{random, small};

    fn samples() -> Vec<Sample> {
        [(9, 4, 0), (5, 2, 1), (12, 11, 2)]
            .map(|(length, response, salt)| Sample {
                ids: (0..length).map(|at| (at * 7 + salt * 13 + 3) % 30).collect(),
                response,
            })
            .into()
    }

    fn all(_: MatrixId) -> bool {
        true
    }

    #[test]
    fn scores_are_weights_times_norms_of_all_that_was_read() {
        /// Every input of every matrix, row after row.
        #[derive(Default)]
        struct Rows(BTreeMap<MatrixId, Vec<f32>>);
        impl Tap for Rows {
            fn wants(&self, _: MatrixId) -> bool {
                true
            }
            fn input(&mut self, layer: usize, site: &'static [Projection], x: &Tensor<2>) {
                for projection in site {
                    self.0.entry(MatrixId::new(layer, *projection)).or_default().extend(x.to_data().iter::<f32>());
                }
            }
        }

        let decoder = random(&small(), &Device::flex(), 8);
        let mut scorer = Wanda.start(&decoder, &all).unwrap();
        let mut rows = Rows::default();
        for sample in samples() {
            scorer.add(&decoder, std::slice::from_ref(&sample)).unwrap();
            decoder.visit_inputs(&sample.ids[..sample.ids.len() - 1], &mut rows).unwrap();
        }
        assert_eq!(scorer.matrices().len(), 7 * small().layers());
        for id in scorer.matrices() {
            let weight = &decoder.linear(id).weight;
            let [out, input] = weight.dims();
            let weights: Vec<f32> = weight.to_data().iter().collect();
            let x = &rows.0[&id];
            assert_eq!(x.len(), input * (8 + 4 + 11), "all inputs and nothing else");
            let found = scorer.finish(&decoder, id).unwrap();
            assert_eq!(found.len(), out * input);
            for (at, score) in found.iter().enumerate() {
                let column = x.iter().skip(at % input).step_by(input);
                let norm = column.map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                let expected = f64::from(weights[at].abs()) * norm;
                assert!((f64::from(*score) - expected).abs() <= 1e-5 * expected, "{score} against {expected}");
            }
        }
    }

    #[test]
    fn a_snapshot_goes_on_with_the_same_bits_and_another_models_is_refused() {
        let decoder = random(&small(), &Device::flex(), 8);
        let down = |id: MatrixId| id == MatrixId::new(1, Projection::Down);
        let start = |scored: &dyn Fn(MatrixId) -> bool| Wanda.start(&decoder, scored).unwrap();
        let (mut whole, mut first, mut second, mut other) = (start(&all), start(&all), start(&all), start(&down));
        whole.add(&decoder, &samples()).unwrap();
        first.add(&decoder, &samples()[..2]).unwrap();
        let state = first.snapshot().unwrap().unwrap();
        assert!(second.restore(&state) && !second.restore(&state[1..]) && !other.restore(&state));
        second.add(&decoder, &samples()[2..]).unwrap();
        let bits = |scorer: &dyn Scorer, id| -> Vec<u32> {
            scorer.finish(&decoder, id).unwrap().into_iter().map(f32::to_bits).collect()
        };
        for id in whole.matrices() {
            assert_eq!(bits(whole.as_ref(), id), bits(second.as_ref(), id));
        }
        other.add(&decoder, &samples()).unwrap();
        let id = MatrixId::new(1, Projection::Down);
        assert_eq!(other.matrices(), [id]);
        assert_eq!(bits(other.as_ref(), id), bits(whole.as_ref(), id), "what else is scored does not matter");
        assert!(other.finish(&decoder, MatrixId::new(0, Projection::Q)).is_err());
    }
}
