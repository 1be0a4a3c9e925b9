//! Remembers the replies to changes of remote stores, so that a client that has lost one repeats its request and gets it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::transport::response::HttpResponse;

/// The maximum number of replies that are remembered, and of their bytes together.
const MAX_REPLIES: usize = 4096;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What is known of a request.
pub(crate) enum KnownRequest {
    /// It is new; [`ChangeReplies::finish`] must follow.
    New,
    /// It is being carried out by another thread.
    Running,
    /// It was carried out, with this reply.
    Done(HttpResponse),
}

/// A request and its reply; `None` while it is carried out.
struct ChangeReply {
    id: String,
    reply: Option<HttpResponse>,
}

/// The replies to the last changes.
#[derive(Default)]
pub(crate) struct ChangeReplies(Mutex<VecDeque<ChangeReply>>);

impl ChangeReplies {
    /// Begins the request with this id, unless it was begun before.
    pub(crate) fn begin(&self, id: &str) -> KnownRequest {
        let mut replies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A request is repeated soon or never.
        if let Some(known) = replies.iter().rev().find(|known| known.id == id) {
            return known.reply.clone().map_or(KnownRequest::Running, KnownRequest::Done);
        }
        let bytes = |replies: &VecDeque<ChangeReply>| -> usize {
            replies.iter().filter_map(|known| Some(known.reply.as_ref()?.body.len())).sum()
        };
        while replies.len() >= MAX_REPLIES || bytes(&replies) > MAX_BYTES {
            replies.pop_front();
        }
        replies.push_back(ChangeReply { id: id.to_string(), reply: None });
        KnownRequest::New
    }

    /// Ends the request with this id. Without a reply, it may be made again.
    pub(crate) fn finish(&self, id: &str, reply: Option<HttpResponse>) {
        let mut replies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reply {
            None => replies.retain(|known| known.id != id),
            some => {
                let known = replies.iter_mut().rev().find(|known| known.id == id);
                known.into_iter().for_each(|known| known.reply.clone_from(&some));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(known: KnownRequest) -> Option<u16> {
        match known {
            KnownRequest::New => None,
            KnownRequest::Running => Some(0),
            KnownRequest::Done(reply) => Some(reply.status),
        }
    }

    #[test]
    fn a_request_is_carried_out_once() {
        let replies = ChangeReplies::default();
        assert_eq!(status(replies.begin("a")), None);
        assert_eq!(status(replies.begin("a")), Some(0), "it is being carried out");
        replies.finish("a", None);
        assert_eq!(status(replies.begin("a")), None, "it failed for a reason that may pass");
        replies.finish("a", Some(HttpResponse::no_content()));
        assert_eq!(status(replies.begin("a")), Some(204));
        for number in 0..MAX_REPLIES {
            replies.begin(&number.to_string());
        }
        assert_eq!(status(replies.begin("a")), None, "the oldest is forgotten");
    }

    #[test]
    fn long_replies_do_not_fill_the_memory() {
        let replies = ChangeReplies::default();
        for number in 0..5 {
            replies.begin(&number.to_string());
            let body = vec![b' '; MAX_BYTES / 2];
            replies.finish(&number.to_string(), Some(HttpResponse::text("text/plain", body)));
        }
        assert_eq!(status(replies.begin("0")), None);
        assert_eq!(status(replies.begin("4")), Some(200));
    }
}
