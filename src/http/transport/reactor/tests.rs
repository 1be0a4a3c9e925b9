use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::*;

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
    let listener = ListenSocket::tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let sockets = Reactor::listen(vec![listener]).unwrap();
    let address = sockets.address().unwrap().unwrap();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    std::thread::scope(|scope| {
        scope.spawn(|| sockets.work(&PanickingService));
        for _ in 0..3 {
            assert_eq!(ask("/mistake"), "");
            assert!(ask("/").starts_with("HTTP/1.1 204"));
        }
        sockets.end();
    });
}
