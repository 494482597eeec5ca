//! Pushes to and pulls from a real registry (Debian's docker-registry) on loopback, also over a connection that breaks.

#![expect(
    clippy::unwrap_used,
    reason = "what a test needs and does not get is a failure"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gil_containers::digest::Digest;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Changes, Compression, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::platform::Platform;
use gil_containers::registry::{
    Client, Credentials, PushOptions, Reference, Transport, attach, pull, push,
};
use gil_tests::not_run;
use oci_spec::image::Descriptor;

/// A registry that lives as long as the test.
struct Registry {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// `someone` with the password `secret`, as htpasswd writes it.
const LOGIN: &str = "someone:$2y$04$8eMFakOeI1bbidjXprYHVO.rDebQSdzyFNwKCyToMXo8HmSd9zVW2\n";

impl Registry {
    fn start(test: &str, with_login: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let root = folder.path().join("data");
        let mut configuration = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            root.display()
        );
        if with_login {
            let file = folder.path().join("htpasswd");
            fs_err::write(&file, LOGIN).unwrap();
            configuration += "auth:\n  htpasswd:\n    realm: test\n    path: ";
            configuration += file.to_str().unwrap();
            configuration += "\n";
        }
        let file = folder.path().join("config.yml");
        fs_err::write(&file, configuration).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) => {
                not_run(test, &format!("docker-registry is not installed ({error})"));
                return None;
            }
        };
        let registry = Self {
            process,
            port,
            folder,
        };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not answer");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An image of one layer with so many bytes that do not compress.
fn image(folder: &Path, bytes: u64) -> (Layout, Descriptor) {
    let root = folder.join("tree");
    fs_err::create_dir_all(root.join("etc")).unwrap();
    let mut state = 1_u64;
    let content: Vec<u8> = (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    fs_err::write(root.join("etc/content"), content).unwrap();
    let layout = Layout::create(&folder.join("layout")).unwrap();
    let mut image = Image::empty(&Platform::host());
    let all = Snapshot::empty().changes_to(&Snapshot::of(&root).unwrap());
    let options = LayerOptions {
        newest_s: 1_700_000_000,
        compression: Compression::None,
        created_by: "test".to_owned(),
    };
    image.add_layer(&layout, &root, &all, &options).unwrap();
    let descriptor = image.store(&layout).unwrap();
    (layout, descriptor)
}

fn client(port: u16, name: &str, credentials: Credentials) -> Client {
    let reference: Reference = format!("127.0.0.1:{port}/{name}").parse().unwrap();
    Client::new(&reference, Transport::Encrypted, credentials).unwrap()
}

fn silent(_: &Digest, _: u64, _: u64) {}

/// Pulls into a new layout, and compares what is in the image with what was pushed.
fn pull_and_compare(client: &Client, folder: &Path, pushed: &Descriptor) {
    let layout = Layout::create(&folder.join("pulled")).unwrap();
    let (image, digest) = pull(client, &layout, &Platform::host(), &mut silent).unwrap();
    assert_eq!(digest.to_string(), pushed.digest().to_string());
    let target = folder.join("target");
    fs_err::create_dir(&target).unwrap();
    image.unpack(&layout, &target).unwrap();
    let tree = Snapshot::of(&folder.join("tree")).unwrap();
    let changes = tree.changes_to(&Snapshot::of(&target).unwrap());
    assert_eq!(changes, Changes::default());
}

#[test]
fn what_is_pushed_can_be_pulled_and_skopeo_finds_it() {
    let test = "what_is_pushed_can_be_pulled_and_skopeo_finds_it";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 100_000);
    let client = client(registry.port, "team/app:1", Credentials::Anonymous);
    let options = PushOptions::default();
    push(&client, &layout, &pushed, &options, &mut silent).unwrap();
    pull_and_compare(&client, folder, &pushed);

    let reference = format!("docker://127.0.0.1:{}/team/app:1", registry.port);
    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", &reference])
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains(pushed.digest().as_ref()), "{said}");
        }
        Err(error) => not_run(test, &format!("skopeo is not installed ({error})")),
    }
}

#[test]
fn a_blob_of_another_repository_is_not_sent_again() {
    let test = "a_blob_of_another_repository_is_not_sent_again";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 3_000_000);
    let first = client(registry.port, "team/app:1", Credentials::Anonymous);
    let options = PushOptions::default();
    push(&first, &layout, &pushed, &options, &mut silent).unwrap();

    let proxy = Proxy::start(registry.port, &[u64::MAX]);
    let second = client(proxy.port, "other/app:1", Credentials::Anonymous);
    let options = PushOptions {
        mount_from: Some("team/app"),
        ..options
    };
    push(&second, &layout, &pushed, &options, &mut silent).unwrap();
    assert!(proxy.sent() < 100_000, "{} bytes were sent", proxy.sent());
    pull_and_compare(&second, folder, &pushed);
}

#[test]
fn a_login_is_needed_where_one_is_wanted() {
    let test = "a_login_is_needed_where_one_is_wanted";
    let Some(registry) = Registry::start(test, true) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 1000);
    let options = PushOptions::default();
    for (credentials, expected) in [
        (Credentials::Anonymous, "without a login"),
        (
            Credentials::Password("someone".to_owned(), "wrong".to_owned()),
            "the kept login",
        ),
    ] {
        let client = client(registry.port, "team/app:1", credentials);
        let error = push(&client, &layout, &pushed, &options, &mut silent).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(expected) && !said.contains("wrong"), "{said}");
    }
    let login = Credentials::Password("someone".to_owned(), "secret".to_owned());
    let client = client(registry.port, "team/app:1", login);
    push(&client, &layout, &pushed, &options, &mut silent).unwrap();
    pull_and_compare(&client, folder, &pushed);
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let test = "an_image_that_is_not_there_is_named";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let layout = Layout::create(&registry.folder.path().join("layout")).unwrap();
    let client = client(registry.port, "team/none:7", Credentials::Anonymous);
    let error = pull(&client, &layout, &Platform::host(), &mut silent).unwrap_err();
    assert!(error.to_string().contains("team/none:7"), "{error}");
}

#[test]
fn a_blob_with_other_content_than_its_digest_says_is_refused() {
    let test = "a_blob_with_other_content_than_its_digest_says_is_refused";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 1000);
    let client = client(registry.port, "team/app:1", Credentials::Anonymous);
    push(
        &client,
        &layout,
        &pushed,
        &PushOptions::default(),
        &mut silent,
    )
    .unwrap();
    let pushed = Image::load(&layout, &pushed, &Platform::host()).unwrap();
    let digest: Digest = pushed.layers()[0].digest().to_string().parse().unwrap();
    let blob = folder
        .join("data/docker/registry/v2/blobs/sha256")
        .join(&digest.hex()[..2])
        .join(digest.hex())
        .join("data");
    let mut bytes = fs_err::read(&blob).unwrap();
    bytes[700] ^= 1;
    fs_err::write(&blob, bytes).unwrap();

    let pulled = Layout::create(&folder.join("pulled")).unwrap();
    let error = pull(&client, &pulled, &Platform::host(), &mut silent).unwrap_err();
    assert!(error.to_string().contains(digest.hex()), "{error}");
    assert!(!pulled.has(&digest));
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    // Nobody listens on a port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let reference: Reference = format!("127.0.0.1:{port}/app:1").parse().unwrap();
    let error = Client::new(&reference, Transport::Encrypted, Credentials::Anonymous)
        .err()
        .unwrap();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn a_push_survives_a_connection_that_breaks() {
    let test = "a_push_survives_a_connection_that_breaks";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 20_000_000);
    // Breaks in the first piece, in the second, and then no more.
    let proxy = Proxy::start(registry.port, &[3_000_000, 12_000_000, u64::MAX]);
    let client = client(proxy.port, "team/app:1", Credentials::Anonymous);
    let options = PushOptions::default();
    push(&client, &layout, &pushed, &options, &mut silent).unwrap();
    pull_and_compare(&client, folder, &pushed);
}

#[test]
fn an_interrupted_push_goes_on_in_the_next_run() {
    let test = "an_interrupted_push_goes_on_in_the_next_run";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let folder = registry.folder.path();
    let (layout, pushed) = image(folder, 40_000_000);
    let sessions = folder.join("sessions");
    let options = PushOptions {
        sessions: Some(&sessions),
        ..PushOptions::default()
    };
    // 20 MB come through; then the registry takes no further piece.
    let proxy = Proxy::start_between_pieces(registry.port, 20_000_000);
    let first = client(proxy.port, "team/app:1", Credentials::Anonymous);
    let error = push(&first, &layout, &pushed, &options, &mut silent).unwrap_err();
    assert!(error.to_string().contains("run it again"), "{error}");
    // Nothing under the tag.
    let direct = client(registry.port, "team/app:1", Credentials::Anonymous);
    let empty = Layout::create(&folder.join("empty")).unwrap();
    assert!(pull(&direct, &empty, &Platform::host(), &mut silent).is_err());

    let before = proxy.sent();
    proxy.open();
    push(&first, &layout, &pushed, &options, &mut silent).unwrap();
    let again = proxy.sent() - before;
    assert!(again < 30_000_000, "{again} bytes were sent again");
    pull_and_compare(&direct, folder, &pushed);
    assert!(fs_err::read_dir(&sessions).unwrap().next().is_none());
}

#[test]
fn a_document_beside_an_image_is_found_from_it() {
    let test = "a_document_beside_an_image_is_found_from_it";
    let Some(registry) = Registry::start(test, false) else {
        return;
    };
    let (layout, pushed) = image(registry.folder.path(), 1000);
    let client = client(registry.port, "team/app:1", Credentials::Anonymous);
    let options = PushOptions::default();
    push(&client, &layout, &pushed, &options, &mut silent).unwrap();
    for document in ["{\"spdxVersion\":\"SPDX-2.3\"}", "{}"] {
        attach(
            &client,
            &layout,
            &pushed,
            "application/spdx+json",
            document.as_bytes(),
            &mut silent,
        )
        .unwrap();
    }
    // docker-registry 2 has no list of its own: it is kept under a tag.
    let digest = pushed.digest().to_string().replace(':', "-");
    let url = format!(
        "http://127.0.0.1:{}/v2/team/app/manifests/{digest}",
        registry.port
    );
    let said = ureq::get(url)
        .header("accept", "application/vnd.oci.image.index.v1+json")
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert_eq!(said.matches("application/spdx+json").count(), 2, "{said}");
}

/// Passes connections on to a registry, and breaks them after a number of bytes sent to it: one budget after the other; when
/// the last is used up, it takes no more. Between pieces, it does so only where a request begins.
struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    sent: AtomicU64,
    limit: AtomicU64,
    later: std::sync::Mutex<Vec<u64>>,
    between_pieces: bool,
}

impl Proxy {
    fn start(to: u16, limits: &[u64]) -> Self {
        Self::start_with(to, limits, false)
    }

    fn start_between_pieces(to: u16, limit: u64) -> Self {
        Self::start_with(to, &[limit], true)
    }

    fn start_with(to: u16, limits: &[u64], between_pieces: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut later: Vec<u64> = limits.iter().rev().copied().collect();
        let state = Arc::new(State {
            sent: AtomicU64::new(0),
            limit: AtomicU64::new(later.pop().unwrap()),
            later: later.into(),
            between_pieces,
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || pass_on(client, to, &state));
            }
        });
        Self { port, state }
    }

    fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.state.limit.store(u64::MAX, Ordering::SeqCst);
    }
}

fn pass_on(mut client: TcpStream, to: u16, state: &State) {
    let mut registry = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let (mut back_from, mut back_to) = (registry.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read) = client.read(&mut buffer) {
        let sent = state.sent.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        let may_break = !state.between_pieces || buffer.starts_with(b"PATCH ");
        if may_break && sent > state.limit.load(Ordering::SeqCst) {
            if let Some(limit) = state.later.lock().unwrap().pop() {
                state.limit.store(limit, Ordering::SeqCst);
            }
            break;
        }
        if read == 0 || registry.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = registry.shutdown(std::net::Shutdown::Both);
}
