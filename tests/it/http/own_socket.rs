//! `lanes serve --socket`: a Unix socket that only this user can reach.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::testkit::server::{failed_start, program};
use crate::testkit::skip::skipped;

/// A server at a socket.
struct SocketServer {
    child: Child,
    path: PathBuf,
    announced: String,
}

impl SocketServer {
    fn start(dir: &Path, path: &Path) -> Self {
        let args = ["--store", "state", "serve", "--socket", path.to_str().unwrap()];
        let mut child = program(dir, &args).stdout(Stdio::piped()).spawn().unwrap();
        let mut announced = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut announced).unwrap();
        Self { child, path: path.to_path_buf(), announced }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const STATUS: &str = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn why(dir: &Path, socket: &Path) -> (Option<i32>, String) {
    let args = ["--store", "state", "serve", "--socket", socket.to_str().unwrap()];
    let output = program(dir, &args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_socket_is_this_users_alone_and_goes_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server = SocketServer::start(dir.path(), &path);
    let there = std::fs::symlink_metadata(&path).unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    assert!(server.announced.contains(path.to_str().unwrap()), "{}", server.announced);
    assert!(!server.announced.contains("http"), "TCP is served as well: {}", server.announced);
    assert!(server.ask(STATUS).starts_with("HTTP/1.1 200 "));
    let body = "{\"lane\":\"l\",\"prompt\":\"p\"}";
    let posted = server.ask(&format!(
        "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    ));
    assert!(posted.starts_with("HTTP/1.1 201 "), "{posted}");
    let rebound = server.ask("GET /status HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 403 "), "{rebound}");
    server.end(Signal::TERM);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
}

#[test]
fn what_a_dead_server_left_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut first = SocketServer::start(dir.path(), &path);
    let (code, printed) = why(dir.path(), &path);
    assert_eq!((code, printed.lines().count()), (Some(1), 1), "{printed}");
    assert!(printed.contains("another server listens"), "{printed}");
    assert!(first.ask(STATUS).starts_with("HTTP/1.1 200 "));
    first.end(Signal::KILL);
    assert!(path.exists());
    let second = SocketServer::start(dir.path(), &path);
    assert!(second.ask(STATUS).starts_with("HTTP/1.1 200 "));
    // One that does not know about our lock.
    let other = dir.path().join("other");
    let _listener = UnixListener::bind(&other).unwrap();
    let (code, printed) = why(dir.path(), &other);
    assert!(code == Some(1) && printed.contains("another server listens"), "{printed}");
}

#[test]
fn a_place_that_is_no_place_for_a_socket_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let open = dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    for (path, expected) in [
        (file.clone(), "is not a socket"),
        (dir.path().join("x".repeat(120)), "too long"),
        (dir.path().join("missing/s"), "No such file"),
        (open.join("s"), "others can replace files"),
    ] {
        let (code, printed) = why(dir.path(), &path);
        assert_eq!((code, printed.lines().count()), (Some(1), 1), "{printed}");
        assert!(printed.contains(expected), "{printed}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    let both = failed_start(dir.path(), &["--socket", file.to_str().unwrap()]);
    assert_eq!(both.status.code(), Some(1));
}

#[test]
fn another_user_is_turned_away_even_at_an_open_socket() {
    let perl = Path::new("/usr/bin/perl");
    if !geteuid().is_root() || !perl.exists() {
        return skipped("root and perl");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("s");
    let server = SocketServer::start(dir.path(), &path);
    let script = "use Socket; $SIG{PIPE} = 'IGNORE'; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
        connect($s, pack_sockaddr_un($ARGV[0])) or exit 1; syswrite $s, $ARGV[1]; \
        exit(sysread($s, my $answer, 64) ? 0 : 2)";
    let ask = |user: u32| {
        let mut command = Command::new(perl);
        command.args(["-e", script]).arg(&path).arg(STATUS).uid(user).gid(user).current_dir("/");
        command.stdout(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(ask(0), Some(0));
    assert_eq!(ask(65534), Some(1), "by the mode of the file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(ask(65534), Some(2), "by the peer's credentials");
    assert_eq!(ask(0), Some(0));
    drop(server);
}
