//! A model without the weights that transformers' scores select: exported, read back, applied to a copy, and undone.
//!
//! Must not know: which models there are, how a golden was made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{DType, Device};
use dean::export::Contents;
use dean::export::directory::{self, Ways};
use dean::export::in_place::{self, Way};
use dean::files;
use dean::model::patch::{Patch, PatchedTensor};
use dean::model::{Checkpoint, Decoder};

use super::checks::all_logits;
use super::golden::{Golden, Model, ids, list};

/// What must hold of the export of any directory in safetensors.
pub fn check(model: &Model, golden: &Golden) {
    let room = tempfile::tempdir().unwrap();
    let (base, copy, out) = (room.path().join("base"), room.path().join("copy"), room.path().join("out"));
    for file in files::list(model.checkpoint.path()).unwrap().iter().filter(|file| file.is_file()) {
        for place in [&base, &copy] {
            files::create_dir_all(place).unwrap();
            files::copy(file, &place.join(file.file_name().unwrap())).unwrap();
        }
    }
    let before = contents(&base);
    let checkpoint = Checkpoint::open(&base).unwrap();
    let patch = patch(&checkpoint, golden);
    assert!(!patch.is_empty(), "a patch of nothing proves nothing");
    let planned = Contents::of(&checkpoint, &patch, None).unwrap();
    directory::write(&out, &planned, &[], &Ways { link: false, stop: &|| false }).unwrap();

    // Byte by byte: a file differs in the weights of the patch alone, and these are zero.
    let exported = contents(&out);
    assert_eq!(exported.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let mut differing = BTreeSet::new();
    for (name, old) in &before {
        let new = &exported[name];
        assert_eq!(new.len(), old.len(), "{name}");
        differing.extend((0..old.len()).filter(|at| old[*at] != new[*at]).map(|at| (name.clone(), at / 4 * 4)));
    }
    let mut expected = BTreeSet::new();
    for patched in &patch.tensors {
        let (file, range) = checkpoint.place(&patched.tensor).unwrap();
        let file = file.file_name().unwrap().to_str().unwrap();
        for index in &patched.indices {
            let at = range.start + 4 * *index as usize;
            assert_eq!(exported[file][at..at + 4], [0; 4], "{} {index}", patched.tensor);
            expected.insert((file.to_owned(), at / 4 * 4));
        }
    }
    assert_eq!(differing, expected);

    // The export is a model like any other, and computes what the edited decoder computes.
    let read = {
        let opened = Checkpoint::open(&out).unwrap();
        assert_eq!(opened.config(), checkpoint.config());
        assert_eq!(opened.text_digest().unwrap(), checkpoint.text_digest().unwrap());
        Decoder::load(&opened, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap()
    };
    let edited = model.decoder.edited(&patch.edits().unwrap()).unwrap();
    for sequence in list(&golden.truth["sequences"]).iter().map(ids) {
        let logits = all_logits(&read, &sequence);
        assert_eq!(logits, all_logits(&edited, &sequence));
        assert_ne!(logits, all_logits(&model.decoder, &sequence), "the patch changes nothing");
    }

    // Applied to a copy it gives the same files, and both can be undone.
    assert_eq!(in_place::write(&copy, &patch, Way::Apply).unwrap(), patch.len());
    assert!(contents(&copy) == exported, "apply and export differ");
    for place in [&copy, &out] {
        assert_eq!(in_place::write(place, &patch, Way::Undo).unwrap(), patch.len());
        assert!(contents(place) == before, "undo does not give the original");
    }
}

/// Zero for the weights that the rule selects at the last of the golden's points, by way of the patch file.
fn patch(checkpoint: &Checkpoint, golden: &Golden) -> Patch {
    let point = list(&golden.truth["selections"]).last().unwrap();
    let sets: BTreeMap<&String, Vec<u32>> =
        point["sets"].as_object().unwrap().iter().map(|(tensor, sets)| (tensor, ids(&sets["true"]))).collect();
    let zeroing = |(tensor, set): (&String, Vec<u32>)| {
        let values = checkpoint.tensor(tensor).unwrap();
        PatchedTensor::zeroing(tensor, checkpoint.dtype(tensor).unwrap(), &values, &set).unwrap()
    };
    let tensors = sets.into_iter().filter(|(_, set)| !set.is_empty()).map(zeroing).collect();
    Patch::from_safetensors(&Patch { tensors }.to_safetensors().unwrap()).unwrap()
}

/// The files of a directory by name.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files::list(folder).unwrap();
    let named = |file: &std::path::PathBuf| {
        (file.file_name().unwrap().to_str().unwrap().to_owned(), files::read(file).unwrap())
    };
    files.iter().map(named).collect()
}
