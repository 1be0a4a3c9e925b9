//! Every submit is answered once: with its result, or with the error that the server stops.

use std::collections::{BTreeMap, BTreeSet};

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use self::batcher::SubmitBatcher;
use super::responder::{DeferredRequest, RequestTrace, Responder};

use super::transport::memory::Reservation;
use super::transport::response::HttpResponse;
use super::transport::service::{SendResult, Ticket};
use super::{api, check, responder, sync, ticket, trace, transport};
use crate::error::Error;
use crate::model::{LaneName, NewTask};
use crate::workspace::CheckedSubmit;

#[path = "../submit_batcher.rs"]
#[expect(clippy::duplicate_mod, reason = "with the channels and locks of shuttle")]
#[allow(dead_code, reason = "the tests submit to no store")]
mod batcher;

const CLIENTS: u64 = 3;

/// Keeps the bodies of all responses, by client.
#[derive(Default)]
struct Responses(Mutex<BTreeMap<u64, Vec<String>>>);

impl Responder for Responses {
    fn respond(&self, ticket: Ticket, _: &RequestTrace, response: HttpResponse) {
        let body = String::from_utf8(response.body).unwrap();
        self.0.lock().unwrap().entry(ticket.connection).or_default().push(body);
    }

    fn is_connected(&self, _: Ticket) -> bool {
        true
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn resume(&self, _: Ticket) {}

    fn send(&self, _: Ticket, _: &[u8]) -> SendResult {
        SendResult::Sent
    }

    fn finish(&self, _: Ticket, _: &[u8]) {}
}

/// Returns the prompt of a client's task, which is also the text of the response to it.
fn prompt(client: u64) -> String {
    format!("the task of client {client}")
}

/// Lets the clients submit, and a thread run the batches; returns the responses and the prompts that reached the
/// store. The queue is closed as soon as it can be, or once all clients have submitted.
fn submit_all(closes_early: bool) -> (BTreeMap<u64, Vec<String>>, BTreeSet<String>) {
    let batcher = Arc::new(SubmitBatcher::default());
    let responses = Arc::new(Responses::default());
    let stored = Arc::new(Mutex::new(BTreeSet::new()));
    let inbox = batcher.open();
    let runner = {
        let (batcher, responses, stored) = (batcher.clone(), responses.clone(), stored.clone());
        thread::spawn(move || {
            batcher.run(&inbox, &*responses, |tasks| {
                let prompts = tasks.into_iter().map(|task| task.spec.prompt);
                prompts
                    .map(|prompt| {
                        assert!(stored.lock().unwrap().insert(prompt.clone()), "stored twice: {prompt}");
                        Err(Error::invalid(prompt))
                    })
                    .collect()
            });
        })
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (batcher, responses) = (batcher.clone(), responses.clone());
            thread::spawn(move || {
                let task = NewTask::prompt(LaneName::stored("l"), prompt(client));
                let request = DeferredRequest::new(ticket(client), trace(), Reservation::default());
                if let Some(request) = batcher.submit(request, CheckedSubmit { task, warnings: Vec::new() }) {
                    request.respond(&*responses, HttpResponse::stopping());
                }
            })
        })
        .collect();
    if closes_early {
        batcher.close();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    if !closes_early {
        // Closing refuses what is still in the queue, so wait for it to be empty.
        while stored.lock().unwrap().len() < CLIENTS as usize {
            thread::yield_now();
        }
        batcher.close();
    }
    runner.join().unwrap();
    let (responses, stored) = (responses.0.lock().unwrap().clone(), stored.lock().unwrap().clone());
    (responses, stored)
}

#[test]
fn every_submit_is_answered_with_its_own_result() {
    check(|| {
        let (responses, stored) = submit_all(false);
        assert_eq!(stored.len(), CLIENTS as usize);
        for client in 0..CLIENTS {
            let [body] = responses[&client].as_slice() else { panic!("{:?}", responses[&client]) };
            assert!(body.contains(&prompt(client)), "client {client} was given {body}");
        }
    });
}

#[test]
fn a_queue_that_closes_stores_and_answers_a_submit_or_refuses_it_and_nothing_between() {
    check(|| {
        let (responses, stored) = submit_all(true);
        for client in 0..CLIENTS {
            let [body] = responses[&client].as_slice() else { panic!("{:?}", responses[&client]) };
            let is_stored = stored.contains(&prompt(client));
            assert_eq!(body.contains(&prompt(client)), is_stored, "client {client} was given {body}");
            assert_eq!(body.contains("stopping"), !is_stored, "client {client} was given {body}");
        }
    });
}
