//! A server behind a proxy that encrypts: what is said there, and to whom nothing is said.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Laptop, stderr, stdout};
use crate::testkit::server::Server;

/// A proxy that ends TLS before a server, as nginx does, and gives each connection one reply.
struct TlsProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    /// What it takes off the path of each request.
    prefix: String,
    /// The name under which it asks the server.
    host: String,
    tls: Arc<rustls::ServerConfig>,
    is_over: AtomicBool,
    connections: AtomicUsize,
    /// The first lines of the requests, and whether each had a token.
    received: Mutex<Vec<(String, bool)>>,
}

impl TlsProxy {
    fn before(server: &Server, prefix: &str, host: &str) -> Self {
        let chain = CertificateDer::from_pem_file(certificate("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.address,
            prefix: prefix.to_string(),
            host: host.to_string(),
            tls: Arc::new(tls),
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            received: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            let mut threads: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                if own.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, end) = (Arc::clone(&own), client.try_clone().unwrap());
                let thread = std::thread::spawn(move || {
                    // A client that does not accept the certificate goes away.
                    let _ = shared.serve(client);
                });
                threads.push((end, thread));
            }
            for (client, thread) in threads {
                let _ = client.shutdown(Shutdown::Both);
                thread.join().unwrap();
            }
        });
        Self { address, shared, listener: Some(listener) }
    }

    /// A machine that reaches the proxy under a name.
    fn laptop(&self, host: &str, token: &str) -> Laptop {
        let address = format!("https://{host}:{}{}", self.address.port(), self.shared.prefix);
        Laptop::at(address, Some(token.to_string()))
    }

    /// Takes what was received: first lines, each of a request that had a token.
    #[track_caller]
    fn take_received(&self) -> Vec<String> {
        let received = std::mem::take(&mut *self.shared.received.lock().unwrap());
        assert!(received.iter().all(|(_, has_token)| *has_token), "{received:?}");
        received.into_iter().map(|(line, _)| line).collect()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let connection = rustls::ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let mut client = BufReader::new(rustls::StreamOwned::new(connection, client));
        let mut first = String::new();
        client.read_line(&mut first)?;
        let (mut head, mut length, mut has_token) = (String::new(), 0, false);
        loop {
            let mut line = String::new();
            client.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "host" => line = format!("Host: {}\r\n", self.host),
                "content-length" => length = value.parse().unwrap(),
                "authorization" => has_token = value.starts_with("Bearer "),
                _ => {}
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        self.received.lock().unwrap().push((first.trim_end().to_string(), has_token));
        let (method, target) = first.split_once(' ').unwrap();
        let target = target.strip_prefix(&self.prefix).expect("a request goes below the prefix");
        let mut server = TcpStream::connect(self.server)?;
        write!(server, "{method} {target}{head}Connection: close\r\n\r\n")?;
        server.write_all(&body)?;
        std::io::copy(&mut server, client.get_mut())?;
        client.get_mut().conn.send_close_notify();
        client.get_mut().flush()
    }
}

/// A file of the certificates for tests: one for 127.0.0.1, which the authority in `ca.pem` has signed.
fn certificate(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testkit/planka/tls")).join(name)
}

/// Runs a command that trusts the authorities in a file.
fn run(laptop: &Laptop, authorities: Option<&str>, args: &[&str]) -> Output {
    let mut command = laptop.command(args);
    if let Some(name) = authorities {
        command.env("SSL_CERT_FILE", certificate(name));
    }
    command.output().unwrap()
}

#[track_caller]
fn succeeds(laptop: &Laptop, args: &[&str]) -> String {
    let output = run(laptop, Some("ca.pem"), args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output).trim_end().to_string()
}

/// Checks that commands that read, change and wait end at once, with one line that has these words.
#[track_caller]
fn all_refused(laptop: &Laptop, authorities: Option<&str>, token: &str, words: &[&str]) {
    let commands: [&[&str]; 4] = [
        &["list"],
        &["submit", "--lane", "l", "--prompt", "x"],
        &["wait", "some-task"],
        &["claim", "--lane", "l", "--wait"],
    ];
    for args in commands {
        let begun = Instant::now();
        let output = run(laptop, authorities, args);
        // Much less than the 20 seconds for which a broken link is tried again.
        assert!(begun.elapsed() < Duration::from_secs(15), "{args:?}: {:?}", begun.elapsed());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert_eq!((text.lines().count(), stdout(&output).as_str()), (1, ""), "{args:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{args:?}: {word} in {text}");
        }
        assert!(!text.contains(token), "{args:?}: {text}");
    }
}

#[test]
fn tasks_are_handed_over_through_a_proxy_that_encrypts() {
    for prefix in ["", "/queue"] {
        // As the configurations in docs/several-machines.md: the server hears the public name.
        let server = Server::with(&["--open", "--allow-host", "box.example"]);
        let token = server.token_of_store();
        let proxy = TlsProxy::before(&server, prefix, "box.example");
        let laptop = proxy.laptop("127.0.0.1", &token);
        let id = succeeds(&laptop, &["submit", "--lane", "l", "--prompt", "Is the lock fair?"]);
        assert!(succeeds(&laptop, &["list"]).contains("Is the lock fair?"));
        let claimed = succeeds(&laptop, &["claim", "--lane", "l", "--wait"]);
        let claim = claimed.lines().find_map(|line| line.strip_prefix("claim_token=")).unwrap();
        let mut waiting = laptop.command(&["wait", &id]);
        waiting.env("SSL_CERT_FILE", certificate("ca.pem")).stdout(std::process::Stdio::piped());
        let waiting = waiting.spawn().unwrap();
        succeeds(&laptop, &["respond", &id, "--claim-token", claim, "--body", "It is."]);
        let output = waiting.wait_with_output().unwrap();
        assert!(output.status.success() && stdout(&output).contains("It is."), "{}", stdout(&output));
        assert!(server.lanes(&["wait", &id]).contains("It is."));
        let received = proxy.take_received();
        let below =
            |line: &String| line.split(' ').nth(1).unwrap().starts_with(&format!("{prefix}/store/v1"));
        assert!(received.len() >= 5 && received.iter().all(below), "{received:?}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_or_has_another_name_ends_a_command_before_the_token_is_sent() {
    let server = Server::with_token();
    let token = server.token_of_store();
    let proxy = TlsProxy::before(&server, "", "localhost");
    for (host, authorities, reason) in [
        ("127.0.0.1", None, "UnknownIssuer"),
        ("127.0.0.1", Some("other_ca.pem"), "invalid peer certificate"),
        ("localhost", Some("ca.pem"), "not valid for name"),
    ] {
        let before = proxy.shared.connections.load(Ordering::SeqCst);
        let address = format!("the certificate of https://{host}:{}", proxy.address.port());
        let words = [&address, "is not accepted", reason, "SSL_CERT_FILE"];
        all_refused(&proxy.laptop(host, &token), authorities, &token, &words);
        // Each command has asked once.
        assert_eq!(proxy.shared.connections.load(Ordering::SeqCst) - before, 4, "{host} {authorities:?}");
        assert_eq!(proxy.take_received(), Vec::<String>::new());
    }
    assert_eq!(server.lanes(&["list"]), "");
}

#[test]
fn a_server_that_does_not_encrypt_is_told_from_one_that_cannot_be_reached() {
    let server = Server::with_token();
    let token = server.token_of_store();
    let laptop = Laptop::at(format!("https://{}", server.address), Some(token.clone()));
    let words = ["answers without encryption", "name the proxy that encrypts", "http://"];
    all_refused(&laptop, Some("ca.pem"), &token, &words);
    assert_eq!(server.lanes(&["list"]), "");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let laptop = Laptop::at("https://127.0.0.1:1".to_string(), None);
    let file = laptop.work().join("ca.pem");
    let refused = |words: &str| {
        let output = laptop.command(&["list"]).env("SSL_CERT_FILE", &file).output().unwrap();
        let text = stderr(&output);
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.contains(words) && text.contains("ca.pem"), "{text}");
    };
    refused("read the certificates in");
    std::fs::write(&file, "nothing").unwrap();
    refused("has no certificate");
}
