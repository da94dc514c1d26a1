//! Who sees the token, and what happens with servers that send on, hang or lie. The servers are real ones on this machine.
//!
//! `localhost` and `127.0.0.1` are one machine and two hosts, so a redirect from one to the other leaves the first. Must not
//! know: what a hub is.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tiny_http::{Header, Response, Server};

use super::*;

/// What a request brought: its path, and its token.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name.as_bytes(), value.as_bytes()).unwrap()
}

/// A server that sends each path of `routes` on, and answers the others with their own path. Its port, and what it saw.
fn server(routes: &'static [(&'static str, &'static str)]) -> (u16, Seen) {
    let server = Server::http("127.0.0.1:0").unwrap();
    let port = server.server_addr().to_ip().unwrap().port();
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let token = request.headers().iter().find(|header| header.field.equiv("Authorization"));
            let path = request.url().to_owned();
            noted.lock().unwrap().push((path.clone(), token.map(|token| token.value.to_string())));
            let target =
                routes.iter().find(|(from, _)| *from == path).map(|(_, to)| to.replace("PORT", &port.to_string()));
            // A client that goes away is no concern of the server.
            let _ = match target {
                Some(target) => request.respond(
                    Response::empty(302)
                        .with_header(header("Location", &target))
                        .with_header(header("X-Linked-Etag", "\"the-hubs-own\"")),
                ),
                None => request.respond(Response::from_string(path).with_header(header("ETag", "\"a-strangers\""))),
            };
        }
    });
    (port, seen)
}

fn client(endpoint: &str) -> Client {
    Client::new(endpoint, Some("secret"), Patience::default()).unwrap()
}

fn text(answer: Answer) -> String {
    std::io::read_to_string(answer.body).unwrap()
}

fn tokens(seen: &Seen) -> Vec<(String, Option<String>)> {
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn the_token_does_not_leave_its_server_with_a_redirect() {
    let routes =
        &[("/away", "http://localhost:PORT/there"), ("/home", "/here"), ("/and-back", "http://127.0.0.1:PORT/away")];
    let (port, seen) = server(routes);
    let home = format!("http://127.0.0.1:{port}");
    let client = client(&home);
    assert!(client.sends_token());
    let secret = || Some("Bearer secret".to_owned());

    let answer = client.get(&format!("{home}/home"), 0).unwrap();
    assert_eq!(answer.tag.as_deref(), Some("the-hubs-own"));
    assert_eq!(text(answer), "/here");
    assert_eq!(tokens(&seen), [("/home".into(), secret()), ("/here".into(), secret())]);

    let answer = client.get(&format!("{home}/away"), 0).unwrap();
    assert_eq!(answer.tag.as_deref(), Some("the-hubs-own"), "another host's name of it is nothing to go by");
    assert_eq!(text(answer), "/there");
    assert_eq!(tokens(&seen), [("/away".into(), secret()), ("/there".into(), None)]);

    // From another server it may come back, and that one never saw it.
    assert_eq!(text(client.get(&format!("http://localhost:{port}/and-back"), 0).unwrap()), "/there");
    let seen = tokens(&seen);
    assert_eq!(seen, [("/and-back".into(), None), ("/away".into(), secret()), ("/there".into(), None)]);

    // Another port is another server.
    let (other, seen) = server(&[]);
    client.get(&format!("http://127.0.0.1:{other}/x"), 0).unwrap();
    assert_eq!(tokens(&seen), [("/x".into(), None)]);
}

#[test]
fn the_token_is_for_https_and_for_this_machine() {
    for (endpoint, may) in [
        ("https://huggingface.co", true),
        ("https://huggingface.co:8443/mirror", true),
        ("http://huggingface.co", false),
        ("http://10.0.0.1:8080", false),
        ("http://127.0.0.1.example.org", false),
        ("http://localhost.example.org", false),
        ("http://localhost:8080", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:80", true),
    ] {
        assert_eq!(client(endpoint).sends_token(), may, "{endpoint}");
    }
    let client = client("https://hub.example");
    for (url, may) in [
        ("https://hub.example/a", true),
        ("https://HUB.example:443/a", true),
        ("https://hub.example:444/a", false),
        ("http://hub.example/a", false),
        ("https://hub.example.org/a", false),
        ("https://hub.example@other.org/a", false),
        ("https://sub.hub.example/a", false),
    ] {
        assert_eq!(client.may_know(&url.parse().unwrap()), may, "{url}");
    }
    for endpoint in ["", "huggingface.co", "file:///etc/passwd", "ftp://a", "https://"] {
        assert!(Client::new(endpoint, None, Patience::default()).is_err(), "{endpoint}");
    }
}

#[test]
fn redirects_lead_to_web_addresses_and_never_out_of_https() {
    let from: Uri = "https://a.org/x/y?z=1".parse().unwrap();
    for (target, url) in [
        ("https://b.org/c?d", "https://b.org/c?d"),
        ("//b.org/c", "https://b.org/c"),
        ("/c", "https://a.org/c"),
        ("c", "https://a.org/x/c"),
        ("?c", "https://a.org/x/y?c"),
        ("/c#d", "https://a.org/c"),
        ("/c?url=http://d", "https://a.org/c?url=http://d"),
    ] {
        assert_eq!(next(&from, target).unwrap().to_string(), url);
    }
    for target in ["http://a.org/c", "file:///etc/passwd", "ftp://a.org/", "https://", "https:///c", "\u{1}"] {
        assert!(next(&from, target).is_err(), "{target}");
    }
    assert!(next(&"http://a.org/".parse().unwrap(), "https://b.org/").is_ok());

    let (port, seen) = server(&[("/loop", "/loop")]);
    let home = format!("http://127.0.0.1:{port}");
    assert!(matches!(client(&home).get(&format!("{home}/loop"), 0), Err(Failure::Redirect(_))));
    assert_eq!(tokens(&seen).len(), REDIRECTS + 1);
}

#[test]
fn a_transfer_that_stalls_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe first").unwrap();
            // Neither closed nor continued.
            open.push(stream);
        }
    });
    let patience = Patience { stall: Duration::from_millis(200), ..Patience::default() };
    let client = Client::new(&home, None, patience).unwrap();
    let mut answer = client.get(&home, 0).unwrap();
    let begun = Instant::now();
    let mut read = Vec::new();
    let error = answer.body.read_to_end(&mut read).unwrap_err();
    assert_eq!(read, b"the first");
    assert!(error.to_string().contains("timeout"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn ranges_are_checked_before_they_are_believed() {
    assert_eq!(beginning("bytes 100-199/200"), Some(100));
    for range in ["", "bytes", "bytes */200", "items 1-2/3", "bytes -1"] {
        assert_eq!(beginning(range), None, "{range}");
    }
}
