//! The hub's client against a small hub (`tests/hub.rs`). Must not know: the network.

mod hub;

use std::net::TcpListener;
use std::time::Duration;

use self::hub::{COMMIT, Hosted, REPO, Server, blob_id, hosted, sha256};
use super::*;
use crate::digest::Digest;
use crate::model::source::layout::Format;
use crate::model::source::spec::{Source, SourceKind};
use crate::model::source::{PipSettings, fetch_with};

const INDEX: &str = Format::Safetensors.index();

fn settings(endpoint: &str) -> HfSettings {
    let patience = Duration::from_secs(10);
    let patience = Patience { connect: patience, answer: patience, stall: patience, pause: Duration::from_millis(1) };
    HfSettings { patience, ..HfSettings::at(endpoint) }
}

/// A folder for the cache and the sources, and the source that is fetched.
struct Client {
    dir: tempfile::TempDir,
    token: Option<String>,
    endpoint: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), token: None, endpoint: server.endpoint.clone() }
    }

    fn source(pin: Option<Digest>) -> Source {
        let kind = SourceKind::Hf { repo: REPO.into(), revision: "main".into() };
        Source { text: format!("hf:{REPO}@main"), pin, kind }
    }

    fn fetch(&self, pin: Option<Digest>) -> Result<PathBuf> {
        let hub = HfSettings {
            cache: Some(self.dir.path().join("home/hub")),
            token: self.token.clone(),
            ..settings(&self.endpoint)
        };
        fetch_with(&Self::source(pin), &self.dir.path().join("sources"), &PipSettings::default(), &hub, &|_| {})
    }

    /// What the cache holds beside locks.
    fn blobs(&self) -> Vec<String> {
        let blobs = files::list(&self.dir.path().join("home/hub/models--owner--tiny/blobs")).unwrap_or_default();
        let names = blobs.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}

fn model() -> Vec<Hosted> {
    vec![
        hosted("README.md", b"# tiny"),
        hosted("config.json", b"{}"),
        hosted("model.safetensors", &[7; 5000]),
        hosted("pytorch_model.bin", b"never read"),
        hosted("tokenizer.json", b"{\"t\": 1}"),
    ]
}

/// The model with a change to its weights file.
fn model_with(change: impl Fn(&mut Hosted)) -> Vec<Hosted> {
    let mut files = model();
    change(&mut files[2]);
    files
}

#[test]
fn a_snapshot_is_fetched_once_and_then_found_offline() {
    let server = Server::start(model(), None);
    let mut client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    assert!(path.ends_with(format!("home/hub/models--owner--tiny/snapshots/{COMMIT}")));
    let names: Vec<_> = files::list(&path).unwrap().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(files::read(&path.join("model.safetensors")).unwrap(), [7; 5000]);

    client.endpoint = "http://127.0.0.1:1".into();
    let pin = crate::model::source::digest(&path).unwrap();
    assert_eq!(client.fetch(Some(pin)).unwrap(), path);
    assert!(client.fetch(Some(Digest::of(b"other"))).unwrap_err().message().contains(&pin.to_string()));

    // A file that went missing makes the receipt void.
    files::remove(&path.join("tokenizer.json")).unwrap();
    let error = client.fetch(None).unwrap_err();
    assert!(error.message().starts_with("cannot list owner/tiny from http://127.0.0.1:1: "), "{error}");
    assert!(error.hint_text().unwrap().contains("HF_ENDPOINT"));
    client.endpoint = server.endpoint.clone();
    client.fetch(None).unwrap();
    assert_eq!(server.bodies("model.safetensors"), 1);
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files = vec![
        hosted("config.json", b"{}"),
        hosted("consolidated.safetensors", b"a copy"),
        hosted("model-1.safetensors", b"one"),
        hosted("model-2.safetensors", b"two"),
        hosted(INDEX, index),
    ];
    let server = Server::start(files, None);
    let client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    assert!(path.join("model-2.safetensors").is_file());
    assert!(!path.join("consolidated.safetensors").exists());
    assert_eq!(server.bodies(INDEX), 1);
}

#[test]
fn pytorch_files_come_where_there_are_no_safetensors() {
    let index = br#"{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}"#;
    let files = vec![
        hosted("config.json", b"{}"),
        hosted("training_args.bin", b"more than tensors"),
        hosted("pytorch_model-1.bin", b"one"),
        hosted("pytorch_model-2.bin", b"two"),
        hosted("pytorch_model.bin.index.json", index),
        hosted("tokenizer.model", b"pieces"),
    ];
    let server = Server::start(files, None);
    let client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    for name in ["pytorch_model-1.bin", "pytorch_model-2.bin", "pytorch_model.bin.index.json", "tokenizer.model"] {
        assert!(path.join(name).is_file(), "{name}");
    }
    assert!(!path.join("training_args.bin").exists());
}

#[test]
fn damage_of_equal_size_is_noticed_and_thrown_away() {
    let server = Server::start(model_with(|file| file.sent = Some(vec![8; 5000])), None);
    let client = Client::of(&server);
    let error = client.fetch(None).unwrap_err();
    assert!(error.message().contains("model.safetensors of owner/tiny arrived damaged"), "{error}");
    assert!(error.message().contains(&sha256(&[7; 5000])) && error.message().contains(&sha256(&[8; 5000])));
    assert_eq!(client.blobs(), [blob_id(b"{}")]);

    // The server recovers, and so do we.
    server.files.lock().unwrap()[2].sent = None;
    client.fetch(None).unwrap();
}

#[test]
fn small_files_are_checked_by_their_blob_id() {
    assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", "as Git has it");
    for tagged in [false, true] {
        let mut files = model();
        (files[1].tagged, files[1].sent) = (tagged, Some(b"[]".into()));
        let server = Server::start(files, None);
        let client = Client::of(&server);
        let error = client.fetch(None).unwrap_err();
        let told = format!("its Git blob id is {} instead of {}", blob_id(b"[]"), blob_id(b"{}"));
        assert!(error.message().contains("config.json") && error.message().ends_with(&told), "{tagged}: {error}");
        server.files.lock().unwrap()[1].sent = None;
        assert_eq!(files::read(&client.fetch(None).unwrap().join("config.json")).unwrap(), b"{}");
    }
}

#[test]
fn a_hub_that_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut hub = settings(&endpoint);
    hub.patience.answer = Duration::from_millis(100);
    let dir = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let error = download(&hub, &Snapshot { repo: REPO, revision: "main" }, dir.path(), &|_| {}).unwrap_err();
    assert!(error.message().contains("cannot list") && error.message().contains("timeout"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn one_damaged_transfer_is_repeated() {
    let change = |file: &mut Hosted| {
        file.sent = Some(vec![8; 5000]);
        file.letdowns = 1;
    };
    let server = Server::start(model_with(change), None);
    let client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    assert_eq!(files::read(&path.join("model.safetensors")).unwrap(), [7; 5000]);
    assert_eq!(server.bodies("model.safetensors"), 2);
}

#[test]
fn a_file_damaged_in_the_cache_is_replaced() {
    let server = Server::start(model(), None);
    let client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    let blob = Stamp::of(&path.join("model.safetensors")).unwrap().path;
    files::write_atomic(&blob, &[9; 4999]).unwrap();
    assert_eq!(files::read(&client.fetch(None).unwrap().join("model.safetensors")).unwrap(), [7; 5000]);
}

#[test]
fn a_body_shorter_than_the_listing_says_is_damage() {
    let server = Server::start(model_with(|file| file.sent = Some(vec![7; 3000])), None);
    let error = Client::of(&server).fetch(None).unwrap_err();
    assert!(error.message().ends_with("2 times: 3000 bytes instead of 5000"), "{error}");
}

#[test]
fn a_transfer_that_breaks_off_is_continued() {
    let cut = |letdowns| model_with(move |file| (file.cut, file.letdowns) = (Some(700), letdowns));
    let server = Server::start(cut(1), None);
    let client = Client::of(&server);
    let path = client.fetch(None).unwrap();
    assert_eq!(files::read(&path.join("model.safetensors")).unwrap(), [7; 5000]);
    let requests = server.requests.lock().unwrap();
    assert!(requests.iter().any(|request| request.path.ends_with("model.safetensors") && request.from == 700));
    drop(requests);

    let server = Server::start(cut(usize::MAX), None);
    let error = Client::of(&server).fetch(None).unwrap_err();
    assert!(error.message().contains("the transfer broke off"), "{error}");
}

#[test]
fn a_half_file_that_cannot_be_continued_does_not_block() {
    let server = Server::start(model(), None);
    for leftover in [5000, 6000] {
        let client = Client::of(&server);
        let blobs = client.dir.path().join("home/hub/models--owner--tiny/blobs");
        files::create_dir_all(&blobs).unwrap();
        files::write_atomic(&blobs.join(sha256(&[7; 5000])).with_extension("part"), &vec![1; leftover]).unwrap();
        client.fetch(None).unwrap();
    }
}

#[test]
fn the_token_is_sent_and_its_absence_explained() {
    let server = Server::start(model(), Some("secret"));
    let mut client = Client::of(&server);
    let error = client.fetch(None).unwrap_err();
    assert!(error.message().ends_with("refuses to list owner/tiny (http status 401)"), "{error}");
    assert!(error.hint_text().unwrap().starts_with("no token was sent: set HF_TOKEN"));

    client.token = Some("wrong".into());
    let error = client.fetch(None).unwrap_err();
    assert!(error.hint_text().unwrap().starts_with("the token was sent"));
    assert!(!error.hint_text().unwrap().contains("wrong"));

    client.token = Some("secret".into());
    client.fetch(None).unwrap();
}

#[test]
fn what_is_not_there_or_not_a_model_says_so() {
    let server = Server::start(vec![hosted("README.md", b"")], None);
    let client = Client::of(&server);
    let error = client.fetch(None).unwrap_err();
    assert_eq!(error.message(), "owner/tiny: not a model in Hugging Face layout: no config.json; found README.md");
    let wanted = Snapshot { repo: "owner/other", revision: "main" };
    let error = download(&settings(&server.endpoint), &wanted, client.dir.path(), &|_| {}).unwrap_err();
    assert!(error.message().ends_with("has no owner/other@main"), "{error}");
}

#[test]
fn offline_means_offline_and_finds_what_is_there() {
    let server = Server::start(model(), None);
    let mut client = Client::of(&server);
    let fetch = |client: &Client, offline: bool| {
        let hub = HfSettings { offline, cache: Some(client.dir.path().join("hub")), ..settings(&client.endpoint) };
        let sources = client.dir.path().join("sources");
        fetch_with(&Client::source(None), &sources, &PipSettings::default(), &hub, &|_| {})
    };
    let error = fetch(&client, true).unwrap_err();
    assert_eq!(error.message(), "owner/tiny@main is not on this machine, and HF_HUB_OFFLINE is set");
    assert!(server.requests.lock().unwrap().is_empty());
    let path = fetch(&client, false).unwrap();
    client.endpoint = "http://127.0.0.1:1".into();
    assert_eq!(fetch(&client, true).unwrap(), path);
    let main = client.dir.path().join("hub/models--owner--tiny/refs/main");
    assert_eq!(files::read(&main).unwrap(), COMMIT.as_bytes());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (repo, revision) in [("../x", "main"), ("a/b", "../../x"), ("a/b", ""), ("a//b", "main"), ("a/b?c", "main")] {
        assert!(Snapshot { repo, revision }.receipt().is_err(), "{repo}@{revision}");
    }
    assert!(Snapshot { repo: "a/b", revision: "refs/pr/1" }.receipt().is_ok());
}
