//! Writes that are whole or not there, stamps that notice changes, and things that are no files.

use super::*;

#[test]
fn an_atomic_write_replaces_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write_atomic(&path, b"1").unwrap();
    write_atomic(&path, b"2").unwrap();
    assert_eq!(read(&path).unwrap(), b"2");
    assert_eq!(list(dir.path()).unwrap(), std::slice::from_ref(&path));
    assert_eq!(digest(&path).unwrap(), Digest::of(b"2"));
}

#[test]
fn two_threads_may_write_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 200_000]];
    std::thread::scope(|scope| {
        for content in &contents {
            scope.spawn(|| (0..50).for_each(|_| write_atomic(&path, content).unwrap()));
        }
        for _ in 0..200 {
            let found = fs::read(&path);
            assert!(found.is_err() || contents.contains(&found.unwrap()), "half a file");
        }
    });
    assert!(contents.contains(&read(&path).unwrap()));
    assert_eq!(list(dir.path()).unwrap(), [path]);
}

#[test]
fn files_are_mapped_even_when_they_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b""[..], b"bytes"] {
        let path = dir.path().join("mapped");
        write_atomic(&path, content).unwrap();
        assert_eq!(map(&path).unwrap()[..], *content);
    }
    assert!(map(&dir.path().join("none")).is_err());
}

#[test]
fn a_stamp_changes_with_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_atomic(&path, b"1").unwrap();
    let before = Stamp::of(&path).unwrap();
    assert_eq!(before, Stamp::of(&path).unwrap());
    write_atomic(&path, b"23").unwrap();
    assert_ne!(before, Stamp::of(&path).unwrap());

    // An edit in place that keeps the size and puts the time back.
    let before = Stamp::of(&path).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(before.is_older_than(Duration::from_millis(5)) && !before.is_older_than(Duration::from_secs(60)));
    overwrite(&path, std::iter::once((0, &b"45"[..]))).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_nanos(before.modified)).unwrap();
    let after = Stamp::of(&path).unwrap();
    assert_eq!((after.bytes, after.modified, after.inode), (before.bytes, before.modified, before.inode));
    assert!(after != before || cfg!(not(unix)));
}

#[test]
fn copies_can_be_written_and_links_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write_atomic(&path("a"), b"0123456789").unwrap();
    let mut permissions = fs::metadata(path("a")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path("a"), permissions).unwrap();
    copy(&path("a"), &path("b")).unwrap();
    overwrite(&path("b"), [(1, &b"xy"[..]), (9, b"z")].into_iter()).unwrap();
    assert_eq!(read(&path("b")).unwrap(), b"0xy345678z");
    assert_eq!(read(&path("a")).unwrap(), b"0123456789");
    assert!(overwrite(&path("b"), [(9, &b"zz"[..])].into_iter()).is_err());
    assert_eq!(read(&path("b")).unwrap().len(), 10);
    assert!(!has_other_names(&path("b")).unwrap());
    hard_link(&path("b"), &path("c")).unwrap();
    assert!(has_other_names(&path("b")).unwrap() || cfg!(not(unix)));
    assert!(create_new(&path("c")).is_err());
    flush(&path("c")).unwrap();
}

#[test]
fn a_file_is_read_by_many_or_written_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights");
    write_atomic(&path, b"1").unwrap();
    let readers = [keep_unwritten(&path).unwrap(), keep_unwritten(&path).unwrap()];
    assert_eq!(keep_unread(&path).unwrap_err().message(), format!("{} is in use by a run of dean", path.display()));
    drop(readers);
    let writer = keep_unread(&path).unwrap();
    assert!(keep_unwritten(&path).unwrap_err().message().contains("is being written"));
    drop(writer);
    assert!(keep_unwritten(&path).unwrap().is_some());
    assert!(keep_unwritten(&dir.path().join("none")).unwrap().is_none());
}

#[test]
fn paths_lead_where_links_do() {
    let dir = tempfile::tempdir().unwrap();
    let place = resolve(dir.path());
    create_dir_all(&place.join("a")).unwrap();
    assert_eq!(resolve(&place.join("a/../a/new/er")), place.join("a/new/er"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("a", place.join("link")).unwrap();
        assert_eq!(resolve(&place.join("link/new")), place.join("a/new"));
    }
}

#[cfg(unix)]
#[test]
fn what_may_never_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, what) in [(pipe.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a device")] {
        let sentence = format!("{} is not a file but {what}", path.display());
        assert_eq!(read(path).unwrap_err().message(), sentence);
        assert_eq!(digest(path).unwrap_err().message(), sentence);
        assert_eq!(map(path).unwrap_err().message(), sentence);
        assert_eq!(copy(path, &dir.path().join("copy")).unwrap_err().message(), sentence);
    }
}

#[test]
fn documents_have_a_largest_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_atomic(&path, b"1234").unwrap();
    assert_eq!(read_text(&path, 4).unwrap(), "1234");
    assert!(read_text(&path, 3).unwrap_err().message().ends_with("is larger than 3 B, the most for such a file"));
    #[cfg(unix)]
    assert!(read_text(Path::new("/dev/zero"), 1 << 20).unwrap_err().message().contains("1.0 MiB"));
}

#[test]
fn a_missing_file_is_a_sentence() {
    let error = read(Path::new("no/such/file")).unwrap_err();
    assert_eq!(error.message(), "cannot read no/such/file: no such file or directory");
}
