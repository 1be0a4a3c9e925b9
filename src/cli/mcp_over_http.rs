//! Serves the tools for chats over the HTTP server: connects `mcp`, which knows messages, with `http`, which
//! knows requests.

use std::sync::{Arc, Mutex, PoisonError};

use super::agent_registry::ChatAgents;
use super::context::CommandContext;
use super::mcp_server_args::tool_sets;
use super::mcp_settings::settings_reader;
use crate::dispatch::config::load::recursion_limits;
use crate::error::{Error, Result};
use crate::http::{MessageEndpoint, MessageReply, PostedMessage};
use crate::mcp::{
    AgentDispatch, McpPost, McpPostReply, PostServer, QueueOpener, QueueSource, SettingsReader, ToolSet,
};
use crate::store::Store;
use crate::workspace::{AgentRights, Config};

/// Returns an endpoint that answers messages, with the tools of these sets; `dispatch` runs the agents.
///
/// # Errors
/// `Invalid` for an unknown set; otherwise whatever the store reports.
pub(super) fn endpoint(
    context: &CommandContext,
    config: &Config,
    sets: &[String],
    dispatch: AgentDispatch,
) -> Result<Box<dyn MessageEndpoint>> {
    let tools = tool_sets(sets, "--mcp-tools")?;
    if tools.contains(&ToolSet::Permission) {
        return Err(Error::invalid(
            "--mcp-tools: permission is for the run of a dispatcher, which this server is not in",
        ));
    }
    let store_options = context.store_options()?;
    let random = store_options.entropy.next(store_options.clock.now().wall);
    let store = Store::open(&config.store_root, store_options)?;
    Ok(Box::new(endpoint_of(&tools, config, store, dispatch, settings_reader(context), random)?))
}

/// Returns what answers messages about this store.
fn endpoint_of(
    tools: &[ToolSet],
    config: &Config,
    store: Store,
    dispatch: AgentDispatch,
    agent_settings: SettingsReader,
    random: u128,
) -> Result<McpEndpoint> {
    let queue = QueueSource { open: only_opener(config.clone(), store), agent_settings };
    let agents = Arc::new(ChatAgents { rights: AgentRights::WithoutMoreRights });
    let server = PostServer::new(tools, queue, dispatch, recursion_limits, agents, config.clone(), random)?;
    Ok(McpEndpoint(server))
}

/// Returns the opener of this store alone. What is in its place once it was moved or removed is another queue than that
/// of the server's other routes, and is not opened, let alone created.
fn only_opener(config: Config, store: Store) -> QueueOpener {
    let unused = Mutex::new(Some(store));
    Box::new(move || {
        let mut unused = unused.lock().unwrap_or_else(PoisonError::into_inner);
        let store = unused.take_if(|store| store.is_in_place()).ok_or_else(|| {
            Error::config("the state directory was removed or moved")
                .with_hint("start the server again once it is back")
        })?;
        Ok((config.clone(), store))
    })
}

/// Answers messages that are posted to the HTTP server.
struct McpEndpoint(PostServer);

impl MessageEndpoint for McpEndpoint {
    fn take(&self, message: PostedMessage) -> Option<MessageReply> {
        let PostedMessage { number, body, version, takes_events } = message;
        self.0.take(McpPost { number, body, version, takes_events }).map(reply)
    }

    fn gone(&self, number: u64) {
        self.0.gone(number);
    }

    fn run(&self, deliver: &dyn Fn(u64, MessageReply) -> bool) -> Result<()> {
        self.0.run(&|number, answer| deliver(number, reply(answer)))
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn close(&self) {
        self.0.close();
    }
}

fn reply(reply: McpPostReply) -> MessageReply {
    match reply {
        McpPostReply::Whole(status, body) => MessageReply::Whole(status, body),
        McpPostReply::BeginEvents => MessageReply::BeginEvents,
        McpPostReply::Events(events) => MessageReply::Events(events),
        McpPostReply::EndEvents(last) => MessageReply::EndEvents(last),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::{LaneName, NewTask};
    use crate::store::StoreOptions;

    #[test]
    fn a_claim_whose_client_is_gone_when_the_answer_comes_is_released() {
        const GONE: u64 = 7;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let store = Store::open(&root, StoreOptions::default()).unwrap();
        let task = store.submit(NewTask::prompt(LaneName::new("a").unwrap(), "x")).unwrap().task;
        let config = Config::store_only(&root, dir.path()).unwrap();
        let no_settings: SettingsReader = Arc::new(|_, _, _| Ok(None));
        let server =
            endpoint_of(&[ToolSet::Worker], &config, store, AgentDispatch::Never("a test"), no_settings, 0)
                .unwrap();
        let (replies, delivered) = channel();
        let deliver = move |number: u64, reply: MessageReply| {
            replies.send(reply).unwrap();
            number != GONE
        };
        let claim = |number: u64, wait: u64| {
            let arguments = json!({"lane": "a", "wait": wait});
            let params = json!({"name": "claim_next", "arguments": arguments});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            let body = body.to_string().into_bytes();
            assert!(
                server.take(PostedMessage { number, body, version: None, takes_events: false }).is_none()
            );
            let Ok(MessageReply::Whole(200, body)) = delivered.recv() else { panic!("no reply") };
            let reply: Value = serde_json::from_slice(&body).unwrap();
            reply["result"]["content"][0]["text"].as_str().unwrap().to_string()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| server.run(&deliver).unwrap());
            let claimed = format!("claimed {} ", task.id);
            assert!(claim(GONE, 0).starts_with(&claimed));
            assert!(claim(GONE + 1, 40).starts_with(&claimed), "the first claim is released");
            assert!(claim(GONE + 2, 0).starts_with("nothing to claim"), "the second one is not");
            server.close();
        });
    }
}
