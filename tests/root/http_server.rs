//! A server of HTTP/1.1 on the loopback that does what it is told, its faults too, and remembers what it was asked.
//!
//! ```text
//! let server = HttpServer::start();
//! server.put("/a.tar", Reply::bytes(data).etag("\"1\"").breaks_after(1000));      // each time
//! server.script("/b.tar", [Reply::status(503), Reply::bytes(data)]);              // in turn; the last one stays
//! server.answer("/v2/", |asked| Reply::status(404));                              // all that begin so
//! server.directory("/streams", path);                                             // files of a directory
//! ```
//!
//! It is its own proxy too: asked for `http://anything/a.tar` it gives `/a.tar`.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Something that was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// As it was written: with a host, if it was asked as a proxy.
    pub target: String,
    /// Without host and query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    status: u16,
    body: Arc<Vec<u8>>,
    headers: Vec<(String, String)>,
    no_ranges: bool,
    chunked: bool,
    claims: Option<u64>,
    no_length: bool,
    breaks_after: Option<usize>,
    stalls_after: Option<usize>,
    silent: bool,
    drip: Option<(usize, Duration)>,
    authorization: Option<(String, String)>,
}

impl Reply {
    /// 200 with `body`; a Range is given as it was asked for.
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: Arc::new(body.into()), ..Self::default() }
    }

    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A redirect.
    pub fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::status(status).header("location", to)
    }

    /// Another status for the same body.
    #[must_use]
    pub fn status_is(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With its quotes.
    #[must_use]
    pub fn etag(self, value: &str) -> Self {
        self.header("etag", value)
    }

    #[must_use]
    pub fn last_modified(self, value: &str) -> Self {
        self.header("last-modified", value)
    }

    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        self.header("retry-after", value)
    }

    /// Range is ignored.
    #[must_use]
    pub fn without_ranges(mut self) -> Self {
        self.no_ranges = true;
        self
    }

    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Content-Length is a lie.
    #[must_use]
    pub fn claims(mut self, length: u64) -> Self {
        self.claims = Some(length);
        self
    }

    /// No Content-Length: it ends where the connection does.
    #[must_use]
    pub fn without_length(mut self) -> Self {
        self.no_length = true;
        self
    }

    /// The connection is closed after so many bytes of this answer's body.
    #[must_use]
    pub fn breaks_after(mut self, bytes: usize) -> Self {
        self.breaks_after = Some(bytes);
        self
    }

    /// Nothing more comes after so many bytes of this answer's body, until the client has had enough.
    #[must_use]
    pub fn stalls_after(mut self, bytes: usize) -> Self {
        self.stalls_after = Some(bytes);
        self
    }

    /// Not even a status comes.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// So many bytes at a time, with a pause after each.
    #[must_use]
    pub fn drips(mut self, bytes: usize, pause: Duration) -> Self {
        self.drip = Some((bytes, pause));
        self
    }

    /// 401 with `challenge` (WWW-Authenticate), unless Authorization is exactly `value`.
    #[must_use]
    pub fn only_for(mut self, value: &str, challenge: &str) -> Self {
        self.authorization = Some((value.to_owned(), challenge.to_owned()));
        self
    }
}

type Answer = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Vec<Reply>>>,
    answers: Mutex<Vec<(String, Answer)>>,
    asked: Mutex<Vec<Asked>>,
    asked_more: Condvar,
    connections: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

/// The server; it ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for connection in listener.incoming() {
                if served.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let connection = connection.unwrap();
                served.connections.lock().unwrap().push(connection.try_clone().unwrap());
                // One that came as all were ended is among them, or is ended here: nobody else would.
                if served.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let served = Arc::clone(&served);
                threads.push(std::thread::spawn(move || serve(&connection, &served)));
            }
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The same answer each time.
    pub fn put(&self, path: &str, reply: Reply) {
        self.script(path, [reply]);
    }

    /// An answer for each time; the last one stays.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.shared.scripts.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// Answers all paths that begin with `prefix` and have no script.
    pub fn answer(&self, prefix: &str, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        self.shared.answers.lock().unwrap().push((prefix.to_owned(), Arc::new(answer)));
    }

    /// The files below `directory`, as they are when they are asked for.
    pub fn directory(&self, prefix: &str, directory: impl Into<PathBuf>) {
        let (directory, prefix) = (directory.into(), prefix.to_owned());
        self.answer(&prefix.clone(), move |asked| {
            let name = asked.path[prefix.len()..].trim_start_matches('/');
            match std::fs::read(directory.join(name)) {
                Ok(body) if !name.contains("..") => Reply::bytes(body),
                _ => Reply::status(404),
            }
        });
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The methods and paths that were asked for, with Range: `GET /a`, `GET /a bytes=5-`.
    pub fn log(&self) -> Vec<String> {
        let line = |asked: &Asked| match asked.header("range") {
            Some(range) => format!("{} {} {range}", asked.method, asked.path),
            None => format!("{} {}", asked.method, asked.path),
        };
        self.asked().iter().map(line).collect()
    }

    /// Waits until `path` was asked for so many times.
    pub fn wait_for(&self, path: &str, times: usize) {
        let mut asked = self.shared.asked.lock().unwrap();
        while asked.iter().filter(|asked| asked.path == path).count() < times {
            let (guard, timeout) =
                self.shared.asked_more.wait_timeout(asked, Duration::from_secs(60)).unwrap();
            assert!(!timeout.timed_out(), "{path} is not asked for {times} times: {guard:#?}");
            asked = guard;
        }
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.shared.asked.lock().unwrap().clear();
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection: one request. Errors are the client's going away.
fn serve(connection: &TcpStream, shared: &Shared) {
    if let Some(asked) = read_request(connection) {
        let reply = reply_for(&asked, shared);
        shared.asked.lock().unwrap().push(asked.clone());
        shared.asked_more.notify_all();
        let _ = write_reply(connection, &asked, &reply, shared);
    }
    let _ = connection.shutdown(Shutdown::Both);
}

fn read_request(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let local = match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => &target,
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    Some(Asked { method, path, query, target, headers, body })
}

fn reply_for(asked: &Asked, shared: &Shared) -> Reply {
    let reply = match shared.scripts.lock().unwrap().get_mut(&asked.path) {
        Some(replies) if replies.len() > 1 => Some(replies.remove(0)),
        Some(replies) => replies.first().cloned(),
        None => None,
    };
    let reply = reply.unwrap_or_else(|| {
        let answers = shared.answers.lock().unwrap().clone();
        let answer = answers.iter().find(|(prefix, _)| asked.path.starts_with(prefix));
        answer.map_or_else(|| Reply::status(404), |(_, answer)| answer(asked))
    });
    match &reply.authorization {
        Some((wanted, challenge)) if asked.header("authorization") != Some(wanted) => {
            Reply::status(401).header("www-authenticate", challenge)
        }
        _ => reply,
    }
}

/// The start and end that `Range: bytes=START-[END]` asks for, if it is to be honoured.
fn wanted_range(asked: &Asked, reply: &Reply) -> Option<(usize, usize)> {
    let (start, end) = asked.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let validators = reply.headers.iter().filter(|(name, _)| name == "etag" || name == "last-modified");
    let unchanged = asked.header("if-range").is_none_or(|wanted| {
        validators.clone().any(|(_, value)| value == wanted && !value.starts_with("W/"))
    });
    let last = reply.body.len().saturating_sub(1);
    let range = (start.parse().ok()?, end.parse().unwrap_or(last).min(last));
    (unchanged && !reply.no_ranges && reply.status == 200).then_some(range)
}

fn write_reply(
    mut connection: &TcpStream,
    asked: &Asked,
    reply: &Reply,
    shared: &Shared,
) -> std::io::Result<()> {
    if reply.silent {
        return wait_for_the_end(connection);
    }
    let total = reply.body.len();
    let (status, body, range) = match wanted_range(asked, reply) {
        Some((start, _)) if start >= total => (416, &[][..], Some(format!("bytes */{total}"))),
        Some((start, end)) => (206, &reply.body[start..=end], Some(format!("bytes {start}-{end}/{total}"))),
        None => (reply.status, &reply.body[..], None),
    };
    let unchanged = |name: &str, validator: &str| {
        asked.header(name).is_some_and(|wanted| {
            reply.headers.iter().any(|(name, value)| name == validator && value == wanted)
        })
    };
    let unchanged = unchanged("if-none-match", "etag")
        || asked.header("if-none-match").is_none() && unchanged("if-modified-since", "last-modified");
    let (status, body) = if unchanged && status == 200 { (304, &[][..]) } else { (status, body) };
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    reply.headers.iter().for_each(|(name, value)| line(name, value));
    range.iter().for_each(|range| line("content-range", range));
    match (reply.chunked, reply.no_length) {
        (true, _) => line("transfer-encoding", "chunked"),
        (_, true) => {}
        _ => line("content-length", &reply.claims.unwrap_or(body.len() as u64).to_string()),
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let stop = [reply.breaks_after, reply.stalls_after].into_iter().flatten().min();
    let piece = reply.drip.map_or(64 * 1024, |(bytes, _)| bytes);
    for piece in body[..stop.unwrap_or(body.len()).min(body.len())].chunks(piece) {
        if reply.chunked {
            write!(connection, "{:x}\r\n", piece.len())?;
        }
        connection.write_all(piece)?;
        if reply.chunked {
            connection.write_all(b"\r\n")?;
        }
        if let Some((_, pause)) = reply.drip {
            std::thread::sleep(pause);
            if shared.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }
    match reply {
        Reply { stalls_after: Some(_), .. } => wait_for_the_end(connection),
        Reply { breaks_after: Some(_), .. } => Ok(()),
        Reply { chunked: true, .. } => connection.write_all(b"0\r\n\r\n"),
        _ => Ok(()),
    }
}

/// Until the client goes, or the server.
fn wait_for_the_end(mut connection: &TcpStream) -> std::io::Result<()> {
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).map(drop)
}
