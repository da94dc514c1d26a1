//! A small hub: a local HTTP server that tells the truth about its files and sends what the test wants.
//!
//! Must not know: the client.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const REPO: &str = "owner/tiny";

/// A file of the hub, and how the server lets the client down.
#[derive(Clone)]
pub(super) struct Hosted {
    pub(super) name: &'static str,
    pub(super) content: Vec<u8>,
    /// Large files have a SHA-256 in the listing, small ones Git's blob id.
    pub(super) large: bool,
    /// A mirror that leaves blob ids out of the listing, and has them in its tags.
    pub(super) tagged: bool,
    /// What is sent instead of the content, as if it were the content.
    pub(super) sent: Option<Vec<u8>>,
    /// The connection ends after so many bytes of a body.
    pub(super) cut: Option<usize>,
    /// The letdown ends after so many bodies.
    pub(super) letdowns: usize,
}

pub(super) fn hosted(name: &'static str, content: &[u8]) -> Hosted {
    let large = name.ends_with(".safetensors") || name.ends_with(".bin");
    Hosted { name, content: content.into(), large, tagged: false, sent: None, cut: None, letdowns: usize::MAX }
}

pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `git hash-object` says.
pub(super) fn blob_id(content: &[u8]) -> String {
    let object = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    Sha1::digest(object).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) struct Request {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) from: usize,
    pub(super) to: Option<usize>,
}

pub(super) struct Server {
    pub(super) endpoint: String,
    pub(super) files: Arc<Mutex<Vec<Hosted>>>,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves until the process ends. With `token`, everyone else gets 401.
    pub(super) fn start(files: Vec<Hosted>, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            files: Arc::new(Mutex::new(files)),
            requests: Arc::default(),
        };
        let (files, requests) = (server.files.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away is no concern of the server.
                let _ = answer(stream, &files, &requests, token);
            }
        });
        server
    }

    pub(super) fn bodies(&self, name: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.path.ends_with(name) && request.to.is_none()).count()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Mutex<Vec<Hosted>>,
    requests: &Mutex<Vec<Request>>,
    token: Option<&str>,
) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    let mut files = files.lock().unwrap();
    let refused = token.is_some_and(|token| request.authorization.as_deref() != Some(&format!("Bearer {token}")));
    let listing = request.path == format!("/api/models/{REPO}/revision/main?blobs=true");
    let file = request.path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")).map(str::to_owned);
    let (from, to) = (request.from, request.to);
    requests.lock().unwrap().push(request);
    if refused {
        return respond(&mut stream, "401 Unauthorized", "", b"{}", None);
    }
    if listing {
        let siblings: Vec<_> = files
            .iter()
            .map(|file| {
                let lfs = file.large.then(|| serde_json::json!({"sha256": sha256(&file.content), "pointerSize": 127}));
                let id = if file.large { blob_id(b"a pointer") } else { blob_id(&file.content) };
                let id = (!file.tagged).then_some(id);
                serde_json::json!({"rfilename": file.name, "size": file.content.len(), "blobId": id, "lfs": lfs})
            })
            .collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return respond(&mut stream, "200 OK", "Content-Type: application/json\r\n", body.as_bytes(), None);
    }
    let Some(file) = files.iter_mut().find(|hosted| Some(hosted.name) == file.as_deref()) else {
        return respond(&mut stream, "404 Not Found", "", b"", None);
    };
    let letdown = file.letdowns > 0;
    let body = file.sent.as_ref().filter(|_| letdown).unwrap_or(&file.content).clone();
    let end = to.map_or(body.len(), |to| (to + 1).min(body.len()));
    if from >= end {
        return respond(&mut stream, "416 Range Not Satisfiable", "", b"", None);
    }
    let headers = format!(
        "ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\nAccept-Ranges: bytes\r\nContent-Range: bytes {from}-{}/{}\r\n",
        if file.tagged { blob_id(&file.content) } else { sha256(&file.content) },
        end - 1,
        body.len()
    );
    let cut = file.cut.filter(|_| letdown && to.is_none());
    if to.is_none() {
        file.letdowns = file.letdowns.saturating_sub(1);
    }
    respond(&mut stream, "206 Partial Content", &headers, &body[from..end], cut)
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Err(std::io::ErrorKind::UnexpectedEof.into()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request { path, authorization: None, from: 0, to: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.to_owned()),
            "range" => {
                let (from, to) = value.trim_start_matches("bytes=").split_once('-').unwrap();
                (request.from, request.to) = (from.parse().unwrap(), to.parse().ok());
            }
            _ => {}
        }
    }
    Ok(request)
}

fn respond(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
    cut: Option<usize>,
) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")?;
    stream.write_all(&body[..cut.unwrap_or(length).min(length)])?;
    stream.flush()
}
