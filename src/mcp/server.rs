//! The server as the SDK sees it: its identity, its tools, and the results of their calls.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock,
    CustomRequest, CustomResult, ErrorCode, ErrorData, GetPromptRequestMethod, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, GetTaskParams, GetTaskResult, Implementation,
    InitializeRequestParams, InitializeResult, JsonObject, ListPromptsRequestMethod, ListPromptsResult,
    ListToolsResult, PaginatedRequestParams, PromptMessage, ProtocolVersion, Role, ServerCapabilities,
    ServerConfig, TaskStatus, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::agents::AgentRegistry;
use super::arguments::Arguments;
use super::call::{CallEnd, ToolCall, ToolReply, ToolResult};
use super::call_log::CallLog;
use super::catalog::Catalog;
use super::client::{CODEX, Channel, ClientLimits, worker_name};
use super::failure::ToolFailure;
use super::given_results::GivenResults;
use super::open_queue::LazyQueue;
use super::permission::PermissionAsker;
use super::progress::ProgressReporter;
use super::{compat, protocol_task, tools, worker_prompt};
use crate::error::brief;
use crate::model::{AgentChain, TaskId};

/// How long a client of the newest protocol may keep the list of tools, in milliseconds.
const LIST_TTL: u64 = 60_000;
/// The newest version with a handshake, for clients that ask for an unknown one.
const NEWEST_HANDSHAKE: ProtocolVersion = ProtocolVersion::V_2025_11_25;
/// The methods of this server: if the SDK cannot read the parameters of one, the client has made a mistake.
const METHODS: [&str; 9] = [
    "initialize",
    "ping",
    "server/discover",
    "logging/setLevel",
    "tools/list",
    "tools/call",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
];
/// The longest session name, in characters.
const MAX_SESSION: usize = 200;
/// The key of the metadata in which codex names the session.
const CODEX_METADATA: &str = "x-codex-turn-metadata";

/// What a server offers, for all of its clients.
pub(super) struct ServerState {
    /// The tools that are offered.
    pub catalog: Catalog,
    /// Whether there are prompts.
    pub has_prompts: bool,
    /// Makes the instructions when a client asks for them.
    pub instructions: Box<dyn Fn() -> String + Send + Sync>,
    /// The identity of the server, once a client has asked for it.
    pub config: OnceLock<ServerConfig>,
    /// The queue.
    pub queue: Arc<LazyQueue>,
    /// The agents.
    pub agents: Arc<dyn AgentRegistry>,
    /// The agents above the client, if a dispatcher started one.
    pub chain: Option<AgentChain>,
    /// The run whose agent asks for permissions.
    pub permission: Option<Arc<PermissionAsker>>,
    /// The longest wait of a call, in seconds, in place of what the client is known to allow.
    pub max_wait: Option<u64>,
    /// How many more calls may run.
    pub calls: Semaphore,
    /// The log of calls.
    pub log: CallLog,
}

/// The server of one connection.
pub(super) struct McpServer {
    /// What is offered.
    pub state: Arc<ServerState>,
    /// The session of a client that names none in its calls.
    pub session: String,
    /// How messages travel.
    pub channel: Channel,
    /// What the calls of the HTTP request were answered with; `None` over pipes.
    pub given_results: Option<Arc<GivenResults>>,
    /// Cancelled when the client is gone or the server ends.
    pub closing: CancellationToken,
}

impl McpServer {
    async fn call(
        &self,
        name: &str,
        schema: &crate::model::json::Object,
        arguments: crate::model::json::Object,
        context: RequestContext<RoleServer>,
    ) -> ToolResult {
        let Ok(_permit) = self.state.calls.try_acquire() else { return Err(ToolFailure::too_many_calls()) };
        let arguments = Arguments::check(schema, arguments)?;
        let call = self.tool_call(&context)?;
        match self.state.catalog.is_old(name) {
            true => compat::run(call, name, arguments).await,
            false => tools::run(call, name, arguments).await,
        }
    }

    /// Returns what the tools need to know of a request.
    fn tool_call(&self, context: &RequestContext<RoleServer>) -> Result<ToolCall, ToolFailure> {
        let client = client_name(context);
        let token = context.meta.get_progress_token();
        let capabilities = context.meta.client_capabilities();
        Ok(ToolCall {
            given_results: self.given_results.clone(),
            limits: ClientLimits::of(&client, self.channel, self.state.max_wait),
            worker: worker_name(&client)?,
            session: codex_session(context.meta.get(CODEX_METADATA)).unwrap_or_else(|| self.session.clone()),
            agents: Arc::clone(&self.state.agents),
            chain: self.state.chain.clone(),
            permission: self.state.permission.clone(),
            progress: token.map(|token| ProgressReporter::new(context.peer.clone(), token)),
            takes_tasks: capabilities.is_some_and(|capabilities| capabilities.supports_tasks()),
            handed_off: None,
            end: CallEnd { call: context.ct.clone(), connection: self.closing.clone() },
            queue: Arc::clone(&self.state.queue),
        })
    }

    /// Calls a tool in place of a method that is about a task of the protocol.
    ///
    /// # Errors
    /// The tool is not offered.
    async fn call_for_task(
        &self,
        tool: &str,
        arguments: Value,
        context: RequestContext<RoleServer>,
    ) -> Result<ToolResult, ErrorData> {
        let schema = self.schema_of(tool)?;
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        Ok(self.call(tool, &schema, arguments, context).await)
    }

    /// Returns the schema of a tool that is offered.
    ///
    /// # Errors
    /// The tool is not offered.
    fn schema_of(&self, tool: &str) -> Result<Arc<crate::model::json::Object>, ErrorData> {
        let schema = self.state.catalog.schema(tool);
        schema.map_err(|message| ErrorData::new(ErrorCode::INVALID_PARAMS, message, None))
    }
}

/// Returns the error for a method that is about a task of the protocol.
fn task_error(failure: &ToolFailure) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, failure.text(), None)
}

/// Reads the id of a task of the protocol, which is given in full.
fn task_id(id: &str) -> Result<TaskId, ErrorData> {
    TaskId::parse(id).map_err(|error| task_error(&error.into()))
}

/// Returns the name of the client. Over HTTP, a client with a handshake does not repeat its name in its calls, but codex
/// adds metadata to them that nobody else does.
fn client_name(context: &RequestContext<RoleServer>) -> String {
    match context.client_info().map(|client| client.name).filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if context.meta.get(CODEX_METADATA).is_some() => CODEX.to_string(),
        None => String::new(),
    }
}

/// Returns the session that codex names in the metadata of a request: in an object, or in the text of one.
fn codex_session(metadata: Option<&Value>) -> Option<String> {
    let parsed = match metadata? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        value => value.clone(),
    };
    parsed.get("session_id")?.as_str().map(|session| session.chars().take(MAX_SESSION).collect())
}

/// Returns the outcome of a call for the log.
fn outcome_of(result: &ToolResult) -> String {
    match result {
        Ok(ToolReply { handed_off: Some(_), .. }) => "handed off".to_string(),
        Ok(ToolReply { is_failure: true, .. }) => "failed".to_string(),
        Ok(_) => "ok".to_string(),
        Err(failure) => format!("error ({})", failure.kind),
    }
}

fn result_of(result: ToolResult) -> CallToolResult {
    let reply = match result {
        Ok(reply) => reply,
        Err(failure) => return CallToolResult::error(vec![ContentBlock::text(failure.text())]),
    };
    let content = vec![ContentBlock::text(reply.text)];
    let mut result =
        if reply.is_failure { CallToolResult::error(content) } else { CallToolResult::success(content) };
    result.structured_content = reply.structured;
    result
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let make = || {
            let capabilities = ServerCapabilities::builder().enable_tools().enable_tasks();
            let capabilities = if self.state.has_prompts {
                capabilities.enable_prompts().build()
            } else {
                capabilities.build()
            };
            InitializeResult::new(capabilities)
                .with_protocol_version(NEWEST_HANDSHAKE)
                .with_server_info(Implementation::new("lanes", env!("CARGO_PKG_VERSION")))
                .with_instructions((self.state.instructions)())
        };
        self.state.config.get_or_init(make).clone()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut answer = self.negotiate_initialize(&request)?;
        // Tasks of the protocol belong to the version without a handshake.
        answer.capabilities.extensions = None;
        // Later requests are answered in the negotiated version, not in the requested one.
        let mut client = request;
        client.protocol_version = answer.protocol_version.clone();
        context.peer.set_peer_info(client);
        Ok(answer)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let list = ListToolsResult::with_all_items(self.state.catalog.tools().to_vec());
        let is_stateless =
            context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
        Ok(if is_stateless { list.with_ttl_ms(LIST_TTL).with_cache_scope(CacheScope::Private) } else { list })
    }

    /// Accepts every level: this server sends no log messages, and clients set a level without asking whether it does.
    #[expect(deprecated, reason = "clients of today's versions send it")]
    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        if !self.state.has_prompts {
            return Err(ErrorData::method_not_found::<ListPromptsRequestMethod>());
        }
        Ok(ListPromptsResult::with_all_items(vec![worker_prompt::prompt()]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if !self.state.has_prompts {
            return Err(ErrorData::method_not_found::<GetPromptRequestMethod>());
        }
        let invalid = |message: String| ErrorData::new(ErrorCode::INVALID_PARAMS, message, None);
        if request.name != worker_prompt::NAME {
            let name = brief(&request.name);
            return Err(invalid(format!("unknown prompt: {name}; there is {}", worker_prompt::NAME)));
        }
        let lane = request.arguments.as_ref().and_then(|arguments| arguments.get("lane")?.as_str());
        let lane = lane.ok_or_else(|| invalid("the argument 'lane' is missing".to_string()))?;
        let text = worker_prompt::text(lane).map_err(|error| invalid(error.to_string()))?;
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let began = Instant::now();
        let log = |outcome: &str| self.state.log.write(&request.name, began.elapsed(), outcome);
        let schema = self.schema_of(&request.name).inspect_err(|_| log("unknown tool"))?;
        let arguments = request.arguments.unwrap_or_default();
        let call_for_handle = self.tool_call(&context);
        let result = self.call(&request.name, &schema, arguments, context).await;
        log(&outcome_of(&result));
        let result = match result {
            Err(failure) if self.state.catalog.is_old(&request.name) => Ok(compat::error_reply(&failure)),
            result => result,
        };
        if let (Ok(ToolReply { handed_off: Some(id), .. }), Ok(call)) = (&result, call_for_handle)
            && let Ok(handle) = protocol_task::handle_of(&call, id.clone()).await
        {
            return Ok(handle.into());
        }
        Ok(result_of(result).into())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let id = task_id(&request.task_id)?;
        let call = self.tool_call(&context).map_err(|failure| task_error(&failure))?;
        let state = protocol_task::state_of(&call, id).await.map_err(|failure| task_error(&failure))?;
        let mut result = JsonObject::new();
        if state.status == TaskStatus::Completed {
            let arguments = json!({"ids": [request.task_id], "seconds": 0});
            let reply = result_of(self.call_for_task("wait", arguments, context).await?);
            if let Ok(Value::Object(object)) = serde_json::to_value(reply) {
                result = object;
            }
        }
        Ok(protocol_task::detailed(state, result))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let id = task_id(&request.task_id)?;
        let call = self.tool_call(&context).map_err(|failure| task_error(&failure))?;
        protocol_task::state_of(&call, id).await.map_err(|failure| task_error(&failure))?;
        let failure =
            ToolFailure::invalid("the task has not asked for anything", "ask for its state with tasks/get");
        Err(task_error(&failure))
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let id = task_id(&request.task_id)?;
        let arguments = json!({"ids": [id.as_str()]});
        // A task that has already ended stays as it is, which is not an error.
        let reply = self.call_for_task("cancel", arguments, context).await?;
        reply.map(drop).map_err(|failure| task_error(&failure))
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = brief(&request.method);
        Err(match request.method.as_str() {
            "tools/call" => {
                let message = "tools/call needs 'name', a text, and 'arguments', an object";
                ErrorData::new(ErrorCode::INVALID_PARAMS, message, None)
            }
            known if METHODS.contains(&known) => ErrorData::new(
                ErrorCode::INVALID_PARAMS,
                format!("the parameters of {method} are not valid"),
                None,
            ),
            _ => ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("unknown method: {method}"), None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_of_codex_is_found_in_an_object_and_in_a_text() {
        for metadata in [json!({"session_id": "s1"}), json!(r#"{"session_id": "s1", "x": 1}"#)] {
            assert_eq!(codex_session(Some(&metadata)).as_deref(), Some("s1"));
        }
        for metadata in [json!("no json"), json!({}), json!({"session_id": 7}), json!(null)] {
            assert_eq!(codex_session(Some(&metadata)), None);
        }
    }
}
