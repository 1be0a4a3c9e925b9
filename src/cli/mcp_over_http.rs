//! Serves the tools for chats over the HTTP server: connects `mcp`, which knows messages, with `http`, which
//! knows requests.

use std::sync::Arc;

use super::agent_registry::ChatAgents;
use super::context::CommandContext;
use super::mcp_server_args::tool_sets;
use super::mcp_settings::settings_reader;
use crate::dispatch::config::load::recursion_limits;
use crate::error::Result;
use crate::http::{MessageEndpoint, MessageReply, PostedMessage};
use crate::mcp::{McpPost, McpPostReply, PostServer, QueueSource};
use crate::store::Store;
use crate::workspace::{AgentRights, Config};

/// Returns an endpoint that answers messages, with the tools of these sets.
///
/// # Errors
/// `Invalid` for an unknown set.
pub(super) fn endpoint(
    context: &CommandContext,
    config: &Config,
    sets: &[String],
) -> Result<Box<dyn MessageEndpoint>> {
    let tools = tool_sets(sets, "--mcp-tools")?;
    let store_options = context.store_options()?;
    let random = store_options.entropy.next(store_options.clock.now().wall);
    let of_queue = config.clone();
    let open = move || {
        let store = Store::open(&of_queue.store_root, store_options.clone())?;
        Ok((of_queue.clone(), store))
    };
    let agents = Arc::new(ChatAgents { rights: AgentRights::WithoutMoreRights });
    let queue = QueueSource { open: Box::new(open), agent_settings: settings_reader(context) };
    let server = PostServer::new(&tools, queue, recursion_limits, agents, config.clone(), random)?;
    Ok(Box::new(McpEndpoint(server)))
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

    fn run(&self, deliver: &dyn Fn(u64, MessageReply)) -> Result<()> {
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
        McpPostReply::EndEvents => MessageReply::EndEvents,
    }
}
