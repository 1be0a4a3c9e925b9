//! Requests that wait for a task: none sleeps while there is a task that it could claim, and each is answered
//! once.

use std::collections::BTreeMap;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use self::polls::{LongPolls, WaitingRequest, WatcherSignal};
use super::responder::{RequestTrace, Responder};

use super::transport::response::HttpResponse;
use super::transport::service::{SendResult, Ticket};
use super::wait_for::{WaitEnd, WaitFor, group};
use super::{check, responder, sync, ticket, trace, transport, wait_for};
use crate::model::{Filter, LaneName, Owner};
use crate::store::LaneQuery;

#[path = "../long_poll.rs"]
#[expect(clippy::duplicate_mod, reason = "with the channels and locks of shuttle")]
#[allow(dead_code, reason = "the tests have no streams")]
mod polls;

const WORKERS: usize = 2;

/// The content type that marks a response with a task.
const TASK: &str = "task";

/// The part of a connection that the reactor decides on.
#[derive(Default)]
struct Client {
    has_left: bool,
    /// Whether a thread is at its request.
    is_busy: bool,
    /// Whether its request was resumed meanwhile.
    is_resumed: bool,
    responses: Vec<&'static str>,
}

/// Stands for the store, the reactor and the clients.
struct Server {
    polls: LongPolls,
    /// How many tasks can be claimed.
    tasks: Mutex<usize>,
    signals: Mutex<Sender<WatcherSignal>>,
    clients: Mutex<BTreeMap<u64, Client>>,
    is_stopping: AtomicBool,
    /// What the workers are to do; `None` ends one of them.
    resumed: Mutex<Sender<Option<Ticket>>>,
    /// The content type of every response.
    answered: Mutex<Sender<&'static str>>,
}

impl Responder for Server {
    fn respond(&self, ticket: Ticket, _: &RequestTrace, response: HttpResponse) {
        let mut clients = self.clients.lock().unwrap();
        clients.entry(ticket.connection).or_default().responses.push(response.content_type);
        let _ = self.answered.lock().unwrap().send(response.content_type);
    }

    fn is_connected(&self, ticket: Ticket) -> bool {
        !self.clients.lock().unwrap().entry(ticket.connection).or_default().has_left
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn resume(&self, ticket: Ticket) {
        let _ = self.resumed.lock().unwrap().send(Some(ticket));
    }

    fn send(&self, _: Ticket, _: &[u8]) -> SendResult {
        SendResult::Sent
    }

    fn finish(&self, _: Ticket, _: &[u8]) {}
}

fn claim() -> WaitFor {
    let query = LaneQuery { lanes: vec![LaneName::stored("l")], filter: Filter::default() };
    WaitFor::Claim { query, owner: Owner::stored("o"), lease: Duration::from_secs(60) }
}

impl Server {
    fn add_task(&self) {
        *self.tasks.lock().unwrap() += 1;
        let _ = self.signals.lock().unwrap().send(WatcherSignal::StoreChanged);
    }

    /// Claims for a client as `WaitFor::check` does: a task that its client no longer wants is given back.
    fn check(&self, ticket: Ticket) -> Option<HttpResponse> {
        if !self.is_connected(ticket) {
            return None;
        }
        {
            let mut tasks = self.tasks.lock().unwrap();
            *tasks = tasks.checked_sub(1)?;
        }
        if !self.is_connected(ticket) {
            self.add_task();
            return None;
        }
        Some(HttpResponse::text(TASK, ""))
    }

    /// Handles a request as its handler does.
    fn ask(&self, client: u64) {
        let ticket = ticket(client);
        self.occupy(ticket, || {
            let response = match self.check(ticket) {
                Some(response) => response,
                None if self.is_stopping() => claim().response_without_result(WaitEnd::Stopping),
                None if self.polls.add(WaitingRequest::new(ticket, claim(), None, trace())) => return,
                None => HttpResponse::stopping(),
            };
            self.respond(ticket, &trace(), response);
        });
    }

    /// Tries requests that were resumed, as a worker of the reactor does.
    fn work(&self, resumed: &Mutex<Receiver<Option<Ticket>>>) {
        loop {
            let Ok(Some(ticket)) = resumed.lock().unwrap().recv() else { return };
            self.occupy(ticket, || {
                let tried = self.polls.try_claim(ticket, self, |_| Ok(self.check(ticket)));
                if let Some((request, response)) = tried {
                    self.respond(request.ticket, &request.trace, response);
                }
            });
        }
    }

    /// Works on the request of a client, if it is there. Like in the reactor, one thread at a time does, and what
    /// happens to the connection meanwhile counts afterwards.
    fn occupy(&self, ticket: Ticket, work: impl FnOnce()) {
        {
            let mut clients = self.clients.lock().unwrap();
            let client = clients.entry(ticket.connection).or_default();
            if client.has_left || client.is_busy {
                client.is_resumed = true;
                return;
            }
            client.is_busy = true;
        }
        work();
        let mut clients = self.clients.lock().unwrap();
        let client = clients.entry(ticket.connection).or_default();
        client.is_busy = false;
        if client.has_left {
            self.polls.forget(ticket);
        } else if std::mem::take(&mut client.is_resumed) {
            self.resume(ticket);
        }
    }

    /// Hangs up.
    fn leave(&self, client: u64) {
        let mut clients = self.clients.lock().unwrap();
        let state = clients.entry(client).or_default();
        state.has_left = true;
        if !state.is_busy {
            self.polls.forget(ticket(client));
        }
    }

    /// Wakes claims as the watcher does.
    fn watch(&self, inbox: &Receiver<WatcherSignal>) {
        while let Ok(first) = inbox.recv() {
            let (mut changes, mut added, mut wanted) = (0, Vec::new(), None);
            for signal in std::iter::once(first).chain(inbox.try_iter()) {
                match signal {
                    WatcherSignal::StoreChanged => changes += 1,
                    WatcherSignal::Added(number) => added.push(number),
                    WatcherSignal::PassedOn(group) => wanted = Some(group),
                    WatcherSignal::Stop => return self.polls.answer_all(self),
                }
            }
            self.polls.visit(|number, request| {
                if changes > 0 || added.contains(&number) {
                    wanted = request.wait.query().map(group);
                }
            });
            if let Some(wanted) = wanted {
                self.polls.wake_claims(&wanted, changes + 1, self);
            }
        }
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.polls.stop();
    }
}

/// Starts the threads of a server; returns it with the content types of its responses as they come.
fn start() -> (Arc<Server>, Receiver<&'static str>, Vec<JoinHandle<()>>) {
    let polls = LongPolls::default();
    let (signals, inbox) = polls.open();
    let (resume, resumed) = channel();
    let (answer, answers) = channel();
    let server = Arc::new(Server {
        polls,
        tasks: Mutex::new(0),
        signals: Mutex::new(signals),
        clients: Mutex::new(BTreeMap::new()),
        is_stopping: AtomicBool::new(false),
        resumed: Mutex::new(resume),
        answered: Mutex::new(answer),
    });
    let resumed = Arc::new(Mutex::new(resumed));
    let mut threads: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (server, resumed) = (server.clone(), resumed.clone());
            thread::spawn(move || server.work(&resumed))
        })
        .collect();
    let watcher = server.clone();
    threads.push(thread::spawn(move || watcher.watch(&inbox)));
    (server, answers, threads)
}

/// Lets a thread ask for each client.
fn ask(server: &Arc<Server>, clients: u64) -> Vec<JoinHandle<()>> {
    let ask = |client| {
        let server = server.clone();
        thread::spawn(move || server.ask(client))
    };
    (0..clients).map(ask).collect()
}

/// Ends the threads, once every request is answered.
fn end(server: &Server, threads: Vec<JoinHandle<()>>) {
    for _ in 0..WORKERS {
        let _ = server.resumed.lock().unwrap().send(None);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Returns the responses that a client received.
fn responses(server: &Server, client: u64) -> Vec<&'static str> {
    server.clients.lock().unwrap().remove(&client).unwrap_or_default().responses
}

#[test]
fn every_task_reaches_a_request_that_waits_for_one() {
    check(|| {
        let (server, answers, mut threads) = start();
        threads.extend(ask(&server, 3));
        for _ in 0..3 {
            server.add_task();
        }
        // A task that wakes nobody leaves this waiting forever.
        for _ in 0..3 {
            assert_eq!(answers.recv(), Ok(TASK));
        }
        server.stop();
        end(&server, threads);
        for client in 0..3 {
            assert_eq!(responses(&server, client), [TASK]);
        }
    });
}

#[test]
fn a_server_that_stops_answers_every_request_once() {
    check(|| {
        let (server, answers, mut threads) = start();
        threads.extend(ask(&server, 2));
        server.add_task();
        server.stop();
        for _ in 0..2 {
            answers.recv().unwrap();
        }
        end(&server, threads);
        for client in 0..2 {
            assert_eq!(responses(&server, client).len(), 1);
        }
    });
}

#[test]
fn what_a_client_that_leaves_was_woken_for_goes_to_the_next() {
    check(|| {
        let (server, answers, mut threads) = start();
        threads.extend(ask(&server, 2));
        let leaving = server.clone();
        threads.push(thread::spawn(move || leaving.leave(0)));
        server.add_task();
        // One of them gets the task: the other, unless the first had it before it left.
        assert_eq!(answers.recv(), Ok(TASK));
        server.stop();
        if responses(&server, 0) == [TASK] {
            answers.recv().unwrap();
        }
        end(&server, threads);
    });
}
