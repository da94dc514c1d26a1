//! Artifacts that are written as streams and read as maps.

use std::io::Write;

use super::*;

#[test]
fn an_artifact_can_be_written_as_a_stream_and_read_as_a_map() {
    let (_dir, store) = store();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for number in 0..2 {
        // The second one finds the blob of the first.
        let manifest = manifest(number);
        let claim = claim(&store, &manifest);
        let mut writer = claim.writer().unwrap();
        content.chunks(777_777).for_each(|piece| writer.write_all(piece).unwrap());
        let written = writer.finish().unwrap();
        let output = written.output();
        assert_eq!((output.digest, output.bytes), (Digest::of(&content), 12_000_000));
        assert_eq!(store.verify(&output.digest).unwrap(), number == 1, "a key that is not published has no artifacts");
        let record = claim.publish(&manifest, vec![("scores".into(), written)], 0.0, "cpu").unwrap();
        assert_eq!(record.outputs["scores"], output);
        assert_eq!(store.map(&output.digest).unwrap(), content);
    }
    // One that is given up leaves nothing, and neither does one that was written in part.
    let claim = claim(&store, &manifest(3));
    let mut part = claim.writer().unwrap();
    part.write_all(b"part").unwrap();
    drop((claim.writer().unwrap().finish().unwrap(), part));
    assert_eq!((count(&store.dir("tmp")), store.du().unwrap().blobs), (0, 12_000_000));

    let empty = claim.writer().unwrap().finish().unwrap();
    let record = claim.publish(&manifest(3), vec![("nothing".into(), empty)], 0.0, "cpu").unwrap();
    assert_eq!(store.map(&record.outputs["nothing"].digest).unwrap(), b""[..]);
}

#[test]
fn a_stream_takes_no_memory_to_speak_of() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let piece = vec![7_u8; 1 << 20];
    let (record, most) = crate::allocator::counting::peak(|| {
        let claim = claim(&store, &manifest);
        let mut writer = claim.writer().unwrap();
        (0..32).for_each(|_| writer.write_all(&piece).unwrap());
        let written = writer.finish().unwrap();
        claim.publish(&manifest, vec![("scores".into(), written)], 0.0, "cpu").unwrap()
    });
    assert!(most < 1 << 20, "{most} bytes");
    let (sum, most) = crate::allocator::counting::peak(|| {
        store.map(&record.outputs["scores"].digest).unwrap().iter().map(|byte| u64::from(*byte)).sum::<u64>()
    });
    assert_eq!(sum, 7 << 25);
    assert!(most < 1 << 20, "{most} bytes");
}

#[test]
fn a_damaged_blob_is_not_mapped() {
    let (_dir, store) = store();
    let digest = publish(&store, &manifest(1), b"right").outputs["answers"].digest;
    overwrite(&store.blob_path(&digest), b"wrong");
    assert!(store.map(&digest).unwrap_err().message().contains("was damaged and was moved to"));
    assert!(store.map(&digest).unwrap_err().message().contains("no longer in the store"));
}
