//! Selection against PyTorch: the sets of a real model and of two tiny ones must come out exactly.
//!
//! The scores are PyTorch's here, so that nothing but the selection can differ. Must not know: how a score is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type, UInt8Type, UInt16Type, UInt32Type};
use dean::files;
use dean::rank::{MatrixRanks, Point, RankTable, Rule, k, select, top};
use libtest_mimic::Trial;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::golden::json;
use super::needs;

pub fn tests() -> Vec<Trial> {
    needs::tests![needs::shared => the_sets_of_a_real_model_are_pytorchs,
        the_sets_of_tiny_models_are_pytorchs_from_whole_score_tensors]
}

/// The goldens' names of our data sets.
const DATA: [(&str, &str); 3] = [
    ("privacy", "beaver_train330k_privacy_safe_1k"),
    ("fairness", "beaver_train330k_fairness_safe_1k"),
    ("general", "alpaca_cleaned_no_safety"),
];

/// The paper's rule and the released code's, as the goldens number them.
const RULES: [&str; 2] = ["fairness & privacy - general", "released-code"];

fn batches(path: &Path) -> impl Iterator<Item = RecordBatch> {
    let open = ParquetRecordBatchReaderBuilder::try_new(files::open(path).unwrap()).unwrap();
    open.with_batch_size(1 << 16).build().unwrap().map(Result::unwrap)
}

/// The set of one rule at p = q, by tensor; tensors without any weight are left out.
fn chosen(rule: usize, fraction: f64, tables: &BTreeMap<String, RankTable>) -> BTreeMap<String, Vec<u32>> {
    let rule = Rule::parse(RULES[rule]).unwrap();
    let points = [Point { p: Some(fraction), q: fraction }];
    let selection = select(&rule, &points, tables, &|_| true).unwrap();
    selection.mask(&selection.points[0].mask).unwrap().tensors.iter().cloned().collect()
}

fn the_sets_of_a_real_model_are_pytorchs(shared: PathBuf) {
    let dir = shared.join("golden/smollm2");
    let modules = json(&dir.join("modules.json"));
    assert!(DATA.iter().enumerate().all(|(at, (_, golden))| modules["datasets"][at] == *golden));
    let modules: Vec<(String, u64)> = modules["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| (format!("{}.weight", module["name"].as_str().unwrap()), module["numel"].as_u64().unwrap()))
        .collect();

    let cap = 1e-3;
    let empty = |(tensor, numel): &(String, u64)| MatrixRanks {
        tensor: tensor.clone(),
        numel: *numel,
        index: vec![],
        score: vec![],
        next: None,
        ties: 0,
    };
    let mut all: Vec<Vec<MatrixRanks>> = vec![modules.iter().map(empty).collect(); DATA.len()];
    for batch in batches(&dir.join("topk.parquet")) {
        let dataset = batch["dataset"].as_primitive::<UInt8Type>().values();
        let module = batch["module"].as_primitive::<UInt16Type>().values();
        let rank = batch["rank"].as_primitive::<UInt16Type>().values();
        let index = batch["idx"].as_primitive::<UInt32Type>().values();
        let score = batch["score"].as_primitive::<Float32Type>().values();
        for row in 0..batch.num_rows() {
            let ranks = &mut all[usize::from(dataset[row])][usize::from(module[row])];
            let (kept, numel) = (ranks.index.len() as u64, ranks.numel);
            if u64::from(rank[row]) < k(cap, numel) {
                assert_eq!(u64::from(rank[row]), kept);
                ranks.index.push(index[row]);
                ranks.score.push(score[row]);
            } else if u64::from(rank[row]) == k(cap, numel) {
                ranks.next = Some(score[row]);
                let cut = ranks.cut();
                ranks.ties =
                    ranks.score.iter().chain([&score[row]]).filter(|score| Some(**score) == cut).count() as u64;
            }
        }
    }
    let tables: BTreeMap<String, RankTable> =
        DATA.iter().zip(all).map(|((name, _), matrices)| ((*name).into(), RankTable { cap, matrices })).collect();
    let read_back = |table: &RankTable| RankTable::from_parquet(table.to_parquet().unwrap()).unwrap();
    assert!(tables.values().all(|table| read_back(table) == *table));

    let mut expected: BTreeMap<(u64, u8), BTreeMap<String, Vec<u32>>> = BTreeMap::new();
    for batch in batches(&dir.join("sets.parquet")) {
        let p = batch["p"].as_primitive::<Float64Type>().values();
        let which = batch["which"].as_primitive::<UInt8Type>().values();
        let module = batch["module"].as_primitive::<UInt16Type>().values();
        let index = batch["idx"].as_primitive::<UInt32Type>().values();
        for row in 0..batch.num_rows() {
            let sets = expected.entry((p[row].to_bits(), which[row])).or_default();
            sets.entry(modules[usize::from(module[row])].0.clone()).or_default().push(index[row]);
        }
    }
    for fraction in [1e-5_f64, 1e-4, 1e-3] {
        for which in 0..2_u8 {
            let found = chosen(which.into(), fraction, &tables);
            assert!(found == expected[&(fraction.to_bits(), which)], "{} at {fraction:e}", RULES[usize::from(which)]);
        }
    }
    // The sizes that the method's description quotes are of the MLP matrices alone.
    let mlp = |which| {
        chosen(which, 1e-4, &tables)
            .iter()
            .filter(|(name, _)| name.contains(".mlp."))
            .map(|(_, set)| set.len())
            .sum::<usize>()
    };
    assert_eq!((mlp(0), mlp(1)), (1459, 2301));
}

fn the_sets_of_tiny_models_are_pytorchs_from_whole_score_tensors(shared: PathBuf) {
    for model in ["qwen2-tied", "mistral-sw"] {
        let dir = shared.join(format!("golden/tiny/{model}/golden"));
        let cap = 0.05;
        let table = |name: &str| {
            let bytes = files::read(&dir.join(format!("scores_{name}.safetensors"))).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let rank = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
                let scores: Vec<f32> =
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                top(&format!("{}.weight", name.trim_end_matches(".weight")), &scores, view.shape()[1], cap).unwrap()
            };
            RankTable { cap, matrices: tensors.tensors().into_iter().map(rank).collect() }
        };
        let tables: BTreeMap<String, RankTable> =
            DATA.iter().map(|(ours, golden)| ((*ours).into(), table(golden))).collect();
        let golden = json(&dir.join("golden.json"));
        let grid = golden["sets"].as_object().unwrap();
        assert!(grid.len() >= 3);
        for (fraction, modules) in grid {
            for (which, name) in ["true", "ref"].into_iter().enumerate() {
                let indices =
                    |set: &Value| set[name].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as u32).collect();
                let expected: BTreeMap<String, Vec<u32>> = modules
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(module, set)| (format!("{module}.weight"), indices(set)))
                    .filter(|(_, set): &(String, Vec<u32>)| !set.is_empty())
                    .collect();
                assert!(!expected.is_empty());
                assert_eq!(
                    chosen(which, fraction.parse().unwrap(), &tables),
                    expected,
                    "{model}, {name} at {fraction}"
                );
            }
        }
    }
}
