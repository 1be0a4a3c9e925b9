use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Runs `act` with the address of a server with this service.
fn with_server(service: &dyn HttpService, act: impl FnOnce(&Reactor, SocketAddr)) {
    let listener = ListenSocket::tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let reactor = Reactor::listen(vec![listener]).unwrap();
    let address = reactor.address().unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| reactor.work(service));
        act(&reactor, address);
        reactor.end();
    });
}

fn request(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// Everything that comes until the server closes the connection.
fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A service that defers every request: it passes on the ticket, and returns when the test says so.
struct DeferringService(Sender<Ticket>, Mutex<Receiver<()>>);

impl HttpService for DeferringService {
    fn admit(&self, _: &HttpRequest) -> Result<usize, HttpResponse> {
        Ok(0)
    }

    fn is_quick(&self, _: &HttpRequest) -> bool {
        false
    }

    fn call(&self, _: HttpRequest, ticket: Ticket) -> Reply {
        self.0.send(ticket).unwrap();
        self.1.lock().unwrap().recv().unwrap();
        Reply::Deferred
    }

    fn resume(&self, _: Ticket) -> Reply {
        Reply::Deferred
    }

    fn gone(&self, _: Ticket) {}

    fn refused(&self, _: &HttpResponse) {}
}

fn deferring_service() -> (DeferringService, Receiver<Ticket>, Sender<()>) {
    let (tickets, started) = channel();
    let (end, ended) = channel();
    (DeferringService(tickets, Mutex::new(ended)), started, end)
}

#[test]
fn the_last_piece_of_a_stream_reaches_a_client_that_is_behind() {
    let (service, started, end) = deferring_service();
    with_server(&service, |reactor, address| {
        let client = request(address, "/");
        let ticket = started.recv().unwrap();
        reactor.answer(ticket, HttpResponse::stream("text/event-stream"));
        end.send(()).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        // At first the service has perhaps not returned; then the socket and the buffer are filled.
        while reactor.send(ticket, &piece) == SendResult::Sent {
            sent += piece.len();
        }
        assert_eq!(reactor.send(ticket, b"lost"), SendResult::Behind);
        reactor.finish(ticket, b"the last piece");
        let answer = rest_of(client);
        assert!(answer.ends_with("xthe last piece") && answer.len() > sent, "{}", answer.len());
        assert_eq!(reactor.send(ticket, b"more"), SendResult::Gone);
    });
}

#[test]
fn a_stream_may_end_before_the_service_has_returned() {
    let (service, started, end) = deferring_service();
    with_server(&service, |reactor, address| {
        let client = request(address, "/");
        let ticket = started.recv().unwrap();
        assert_eq!(reactor.send(ticket, b"too early"), SendResult::Behind);
        reactor.answer(ticket, HttpResponse::stream("text/event-stream"));
        assert_eq!(reactor.send(ticket, b"one, "), SendResult::Sent);
        reactor.finish(ticket, b"two");
        end.send(()).unwrap();
        let answer = rest_of(client);
        assert!(answer.ends_with("\r\n\r\none, two"), "{answer}");
    });
}

/// A service that panics when /mistake is requested.
struct PanickingService;

impl HttpService for PanickingService {
    fn admit(&self, _: &HttpRequest) -> Result<usize, HttpResponse> {
        Ok(0)
    }

    fn is_quick(&self, _: &HttpRequest) -> bool {
        false
    }

    fn call(&self, request: HttpRequest, _: Ticket) -> Reply {
        assert_ne!(request.path, "/mistake", "on purpose");
        Reply::Response(HttpResponse::no_content())
    }

    fn resume(&self, _: Ticket) -> Reply {
        Reply::Deferred
    }

    fn gone(&self, _: Ticket) {}

    fn refused(&self, _: &HttpResponse) {}
}

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    with_server(&PanickingService, |_, address| {
        let ask = |path: &str| rest_of(request(address, path));
        for _ in 0..3 {
            assert_eq!(ask("/mistake"), "");
            assert!(ask("/").starts_with("HTTP/1.1 204"));
        }
    });
}
