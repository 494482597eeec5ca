//! Downloads from a server on loopback that answers as each test tells it to.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::sources::archive_name::Packing;
use crate::sources::progress::Silent;

/// What a request asked for: the values of Range and If-Range.
type Asked = (Option<String>, Option<String>);

struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Answers request `n` with what `answer(n, asked)` gives, byte for byte, then closes.
    fn start(answer: impl Fn(usize, &Asked) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://{}/ftp/python/3.13.5/Python-3.13.5.tar.xz",
            listener.local_addr().unwrap()
        );
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(asked) = read_request(&stream) else {
                    continue;
                };
                let number = count.fetch_add(1, Ordering::SeqCst);
                // A client that has enough may have hung up.
                let _ = stream.write_all(&answer(number, &asked));
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut asked = (None, None);
    let mut any = false;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        any = true;
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.0 = Some(value.to_owned()),
                "if-range" => asked.1 = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    any.then_some(asked)
}

fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn name() -> ArchiveName {
    ArchiveName {
        version: "3.13.5".parse().unwrap(),
        packing: Packing::Xz,
    }
}

fn run(server: &Server, cache: &Cache, content: &[u8]) -> Result<PathBuf, DownloadError> {
    let download = Download {
        url: &server.url,
        name: name(),
        sha256: Sha256::of_reader(content).unwrap(),
    };
    download.run(&agent(false), cache, &mut Silent)
}

fn cache() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("cache"));
    (folder, cache)
}

/// The files in the cache, locks apart.
fn kept(cache: &Cache) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(cache.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "locks")
        .collect();
    names.sort();
    names
}

const COMPLETE: [&str; 2] = ["Python-3.13.5.tar.xz", "Python-3.13.5.tar.xz.sha256"];

#[test]
fn a_file_is_fetched_once_and_kept() {
    let (_folder, cache) = cache();
    let server =
        Server::start(|_, _| answer("200 OK", "ETag: \"a\"\r\n", content().len(), &content()));
    let path = run(&server, &cache, &content()).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), content());
    assert_eq!(run(&server, &cache, &content()).unwrap(), path);
    assert_eq!(server.requests(), 1);
    assert_eq!(kept(&cache), COMPLETE);
}

#[test]
fn a_broken_transfer_is_resumed() {
    let (_folder, cache) = cache();
    let server = Server::start(|number, (range, if_range)| {
        let all = content();
        if number == 0 {
            return answer("200 OK", "ETag: \"a\"\r\n", all.len(), &all[..150_000]);
        }
        assert_eq!(if_range.as_deref(), Some("\"a\""));
        let start: usize = range
            .as_deref()
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap()
            .trim_end_matches('-')
            .parse()
            .unwrap();
        assert!(start > 0);
        let headers = format!(
            "Content-Range: bytes {start}-{}/{}\r\n",
            all.len() - 1,
            all.len()
        );
        answer(
            "206 Partial Content",
            &headers,
            all.len() - start,
            &all[start..],
        )
    });
    let path = run(&server, &cache, &content()).unwrap();
    assert_eq!(fs_err::read(path).unwrap(), content());
    assert_eq!(server.requests(), 2);
    assert_eq!(kept(&cache), COMPLETE);
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let (_folder, cache) = cache();
    let server = Server::start(|number, _| {
        let all = content();
        if number == 0 {
            return answer("200 OK", "ETag: \"old\"\r\n", all.len(), &vec![1; 150_000]);
        }
        answer("200 OK", "ETag: \"new\"\r\n", all.len(), &all)
    });
    let path = run(&server, &cache, &content()).unwrap();
    assert_eq!(fs_err::read(path).unwrap(), content());
}

#[test]
fn a_broken_leftover_is_given_up_once() {
    let (_folder, cache) = cache();
    fs_err::create_dir(cache.folder()).unwrap();
    fs_err::write(
        cache.folder().join(".Python-3.13.5.tar.xz.partial"),
        [9; 1000],
    )
    .unwrap();
    fs_err::write(
        cache
            .folder()
            .join(".Python-3.13.5.tar.xz.partial.validator"),
        "\"a\"",
    )
    .unwrap();
    let server = Server::start(|number, (range, _)| {
        let all = content();
        if number == 0 {
            assert_eq!(range.as_deref(), Some("bytes=1000-"));
            let headers = format!(
                "Content-Range: bytes 1000-{}/{}\r\n",
                all.len() - 1,
                all.len()
            );
            return answer(
                "206 Partial Content",
                &headers,
                all.len() - 1000,
                &all[1000..],
            );
        }
        assert_eq!(range.as_deref(), None);
        answer("200 OK", "", all.len(), &all)
    });
    let path = run(&server, &cache, &content()).unwrap();
    assert_eq!(fs_err::read(path).unwrap(), content());
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_wrong_sum_keeps_nothing() {
    let (_folder, cache) = cache();
    let server = Server::start(|_, _| answer("200 OK", "", 5, b"other"));
    let error = run(&server, &cache, &content()).unwrap_err();
    assert!(matches!(error, DownloadError::WrongSum { .. }), "{error}");
    assert_eq!(server.requests(), 1);
    assert_eq!(kept(&cache), Vec::<String>::new());
}

#[test]
fn a_server_that_always_breaks_off_is_given_up() {
    let (_folder, cache) = cache();
    let server = Server::start(|_, _| answer("200 OK", "", content().len(), &content()[..1000]));
    let error = run(&server, &cache, &content()).unwrap_err();
    assert!(
        matches!(error, DownloadError::BrokenOff { received: 1000, .. }),
        "{error}"
    );
    assert_eq!(server.requests(), 1 + VAIN_ATTEMPTS as usize);
}

#[test]
fn refusals_of_the_server_are_told() {
    let (_folder, cache) = cache();
    let server = Server::start(|_, _| answer("404 Not Found", "", 0, b""));
    let error = run(&server, &cache, &content()).unwrap_err().to_string();
    assert_eq!(error, format!("{} was not found (404)", server.url));
    let server = Server::start(|_, _| answer("503 Service Unavailable", "", 0, b""));
    let error = run(&server, &cache, &content()).unwrap_err().to_string();
    assert!(
        error.ends_with("answered 503 Service Unavailable"),
        "{error}"
    );
    let server = Server::start(|_, _| answer("200 OK", "", 600 * 1024 * 1024, b""));
    let error = run(&server, &cache, &content()).unwrap_err();
    assert!(matches!(error, DownloadError::TooLarge { .. }), "{error}");
    assert_eq!(
        kept(&cache)
            .iter()
            .filter(|name| !name.starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn no_server_is_told() {
    let (_folder, cache) = cache();
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Server {
        url: format!("http://{address}/x"),
        requests: Arc::default(),
    };
    let error = run(&server, &cache, &content()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot reach http://127.0.0.1:"),
        "{error}"
    );
}

#[test]
fn builds_at_once_fetch_a_file_once() {
    let (_folder, cache) = cache();
    let server = Server::start(|_, _| answer("200 OK", "", content().len(), &content()));
    thread::scope(|scope| {
        let builds: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| run(&server, &cache, &content())))
            .collect();
        for build in builds {
            let path = build.join().unwrap().unwrap();
            assert_eq!(fs_err::read(path).unwrap(), content());
        }
    });
    assert_eq!(server.requests(), 1);
    assert_eq!(kept(&cache), COMPLETE);
}
