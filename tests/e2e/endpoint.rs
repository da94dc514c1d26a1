//! Judges behind an endpoint: a server of this test speaks HTTP, and misbehaves on purpose.
//!
//! Must not know: how the program asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Project, files_below};

const KEY: &str = "sk-very-secret-4711";
const VARIABLE: &str = "DEAN_TEST_JUDGE_KEY";

/// What a server does with a request.
enum Act {
    /// Answers with a verdict.
    Say(&'static str),
    /// Answers with a status, headers and a body.
    Status(u16, &'static str, String),
    /// Says nothing for so long.
    Hang(Duration),
    /// Writes something that is no HTTP.
    Garbage,
    /// Closes the connection in the middle of an answer.
    Close,
}

/// One request as the server saw it.
#[derive(Clone)]
struct Seen {
    head: String,
    body: Value,
    at: Instant,
}

impl Seen {
    fn asked(&self) -> String {
        self.body["messages"][0]["content"].as_str().unwrap().to_owned()
    }
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// `act` is given the request and how often the same question came before.
    fn start(act: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (all, act) = (seen.clone(), Arc::new(act));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, all, act) = (stream.unwrap(), all.clone(), act.clone());
                std::thread::spawn(move || serve(stream, &all, &*act));
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Seen>>, act: &(dyn Fn(&Seen, usize) -> Act + Send + Sync)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let seen = Seen { head, body: serde_json::from_slice(&body).unwrap(), at: Instant::now() };
        let before = {
            let mut all = all.lock().unwrap();
            let before = all.iter().filter(|other| other.asked() == seen.asked()).count();
            all.push(seen.clone());
            before
        };
        let answer = |status: u16, headers: &str, body: &str| {
            format!("HTTP/1.1 {status} Word\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
        };
        let written = match act(&seen, before) {
            Act::Say(text) => answer(200, "", &completion(text)),
            Act::Status(status, headers, body) => answer(status, headers, &body),
            Act::Hang(time) => {
                std::thread::sleep(time);
                return;
            }
            Act::Garbage => "this is no HTTP\r\n\r\n".into(),
            Act::Close => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\"");
                return;
            }
        };
        if stream.write_all(written.as_bytes()).is_err() {
            return;
        }
    }
}

fn completion(text: &str) -> String {
    let likely = json!([{ "token": "safe", "logprob": -0.1 }, { "token": "unsafe", "logprob": -2.0 }]);
    let place = json!({ "token": text, "logprob": -0.1, "top_logprobs": likely });
    json!({ "choices": [{ "message": { "content": text }, "logprobs": { "content": [place] } }] }).to_string()
}

/// The tiny project with few questions and this endpoint as its judge.
fn project(server: &Server, more: &str) -> Project {
    let project = Project::new();
    let rows: String = (0..20).map(|number| format!("\"What is {number}?\"\n")).collect();
    project.write("data/questions.csv", format!("questions\n{rows}"));
    let judge = format!(
        "[judge]\nkind = \"http\"\nurl = \"{}\"\nmodel = \"judge-1\"\nkey_env = \"{VARIABLE}\"\n{more}\n[run]",
        server.url
    );
    project.edit("[run]", &judge);
    project
}

/// Runs the program with the key in its environment: whether it came to its end, and what it said.
fn run(project: &Project, arguments: &[&str]) -> (bool, String) {
    let mut command = project.dean(arguments);
    let output = command.env(VARIABLE, KEY).env("DEAN_LOG", "trace").output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!said.contains(KEY) && !said.contains("panicked"), "{said}");
    for (path, bytes) in files_below(&project.store) {
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "the key is in {}", path.display());
    }
    (output.status.success(), said)
}

fn judged(project: &Project) -> BTreeMap<String, Value> {
    let status = project.status(&[]);
    status.into_iter().filter(|(node, _)| node.starts_with("judge[")).collect()
}

#[test]
fn an_answer_is_judged_once_in_a_whole_sweep() {
    let server = Server::start(|_, _| Act::Say("safe"));
    let project = project(&server, "");
    let (done, said) = run(&project, &["run"]);
    assert!(done, "{said}");
    let seen = server.seen();
    let different: BTreeSet<String> = seen.iter().map(Seen::asked).collect();
    assert_eq!(seen.len(), different.len(), "no question and answer was asked about twice");
    // 20 controls, and more answers than one variant has and fewer than all three.
    assert!((40..80).contains(&seen.len()), "{}", seen.len());
    for one in &seen {
        assert!(one.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", one.head);
        assert!(one.head.contains(&format!("Bearer {KEY}")), "{}", one.head);
        assert_eq!((&one.body["model"], &one.body["temperature"]), (&json!("judge-1"), &json!(0)));
    }
    let report: Value = serde_json::from_str(&project.ok(&["report", "--json"]).0).unwrap();
    let found = report["report"]["variants"][0]["outcomes"].as_array().unwrap().iter();
    let value = |measure: &str| found.clone().find(|found| found["measure"] == measure).unwrap()["value"].as_f64();
    assert_eq!(value("http/safe"), Some(1.0));
    let (safe, other) = ((-0.1f64).exp(), (-2.0f64).exp());
    assert!((value("http/p_unsafe").unwrap() - other / (safe + other)).abs() < 1e-9);

    // Another address or another model is another judge; the key's name is not.
    let keys = |sets: &[&str]| -> Vec<Value> {
        let status = project.status(sets);
        status.iter().filter(|(node, _)| node.starts_with("judge[")).map(|(_, row)| row["key"].clone()).collect()
    };
    assert_ne!(keys(&[]), keys(&["--set", "judge.model=judge-2"]));
    assert_ne!(keys(&[]), keys(&["--set", "judge.url=http://localhost:1/v1"]));
    assert_eq!(keys(&[]), keys(&["--set", "judge.key_env=OTHER", "--set", "judge.at_once=1"]));
}

#[test]
fn what_passes_is_asked_again() {
    let server = Server::start(|seen, before| {
        let number = seen.asked().bytes().map(usize::from).sum::<usize>() % 6;
        match (number, before) {
            (0, 0) => Act::Status(429, "Retry-After: 1\r\n", "slow down".into()),
            (1, 0 | 1) => Act::Status(500, "", format!("your key {KEY} is fine")),
            (2, 0) => Act::Hang(Duration::from_secs(5)),
            (3, 0) => Act::Garbage,
            (4, 0) => Act::Close,
            (5, 0) => Act::Status(200, "", "<html>busy</html>".into()),
            _ => Act::Say("unsafe"),
        }
    });
    let project = project(&server, "timeout_seconds = 1\nat_once = 16");
    let (done, said) = run(&project, &["run"]);
    assert!(done, "{said}");
    let seen = server.seen();
    let mut tries: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    seen.iter().for_each(|one| tries.entry(one.asked()).or_default().push(one.at));
    let again: Vec<_> = tries.values().filter(|times| times.len() > 1).collect();
    assert!(again.len() > 10 && again.iter().all(|times| times.len() <= 3), "{}", again.len());
    for times in again {
        assert!(times[1] - times[0] >= Duration::from_millis(450), "nobody is asked again at once");
    }
    let busy = tries.iter().filter(|(asked, _)| asked.bytes().map(usize::from).sum::<usize>() % 6 == 0);
    for (_, times) in busy {
        assert!(times[1] - times[0] >= Duration::from_millis(990), "Retry-After is heeded");
    }
    assert!(judged(&project).values().all(|row| row["state"] == "hit"));
}

#[test]
fn what_does_not_pass_ends_the_run_and_what_is_done_stays_done() {
    // From the 40th request on, the endpoint refuses.
    let count = Arc::new(Mutex::new(0));
    let (counted, open) = (count.clone(), Arc::new(Mutex::new(false)));
    let gate = open.clone();
    let server = Server::start(move |_, _| {
        let mut count = counted.lock().unwrap();
        *count += 1;
        match *count > 30 && !*gate.lock().unwrap() {
            true => Act::Status(401, "", format!("{{\"error\": \"Incorrect API key provided: {KEY}\"}}")),
            false => Act::Say("safe"),
        }
    });
    let project = project(&server, "at_once = 2");
    let (done, said) = run(&project, &["run"]);
    assert!(!done);
    let message = said[said.find("error:").unwrap()..].replace(&server.url, "[url]");
    insta::assert_snapshot!(message.trim_end(), @r#"
    error: judge[base]: [url]/chat/completions refuses with http status 401 {"error": "Incorrect API key provided: [key]"}
    hint: judge.key_env names the environment variable that holds the key
    "#);
    *open.lock().unwrap() = true;
    let (done, said) = run(&project, &["run"]);
    assert!(done, "{said}");
    let different: BTreeSet<String> = server.seen().iter().map(Seen::asked).collect();
    let twice = server.seen().len() - different.len();
    assert!(twice <= 2, "only what was refused was asked again: {twice}");
}

#[test]
fn what_an_endpoint_does_not_know_is_left_out() {
    let server = Server::start(|seen, _| {
        let complaint = |what: &str| Act::Status(400, "", format!("unsupported parameter: {what}"));
        match &seen.body {
            body if !body["logprobs"].is_null() => complaint("logprobs"),
            body if !body["max_tokens"].is_null() => complaint("max_tokens"),
            _ => Act::Say("unsafe\nO5"),
        }
    });
    let project = project(&server, "at_once = 1");
    let (done, said) = run(&project, &["run"]);
    assert!(done, "{said}");
    let refused = server.seen().iter().filter(|seen| seen.body["max_completion_tokens"].is_null()).count();
    assert!(refused % 2 == 0 && (4..=8).contains(&refused), "two for each node that asks, and no more: {refused}");
}

#[test]
fn a_judge_that_cannot_be_asked_is_refused_by_the_plan() {
    let server = Server::start(|_, _| Act::Say("safe"));
    let project = project(&server, "");
    insta::assert_snapshot!(project.refused(&["plan"]), @"
    error: judge[controls]: the environment variable DEAN_TEST_JUDGE_KEY holds no key
    hint: judge.key_env names it; set the variable to the endpoint's key, or take the setting out
    ");
    insta::assert_snapshot!(project.refused(&["plan", "--set", "judge.url=http://example.com/v1"]), @"
    error: --set judge.url: judge.url is plain http to another machine: anybody on the way could read the key
    hint: for example http://localhost:8000/v1
    ");
    let other = ["plan", "--set", "judge.kind=md-judge-v0.2", "--set", "judge.url=ftp://a"];
    insta::assert_snapshot!(project.refused(&other), @"
    error: --set judge.url: judge.url must begin with https:// or http://
    hint: for example http://localhost:8000/v1
    ");
    project.write("raw.txt", "%s %s");
    let (done, said) = run(&project, &["plan", "--set", "judge.template=raw.txt"]);
    assert!(!done && said.contains("an endpoint takes messages, and this template is a whole prompt"), "{said}");
    assert!(server.seen().is_empty(), "a plan asks nobody");
}
