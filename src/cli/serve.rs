//! `lanes serve`: serves the queue over HTTP.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;

use super::automation::{Automation, AutomationEvent};
use super::browser::{is_seen, open_page};
use super::budget::{raise_budgets, show_budgets};
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
#[cfg(feature = "mcp")]
use super::mcp_over_http;
#[cfg(feature = "mcp")]
use super::on_demand_dispatcher::OnDemandStarter;
use super::output::print_error_line;
use super::stats::stats_object;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::{check_route, restricted_route_change};
#[cfg(feature = "mcp")]
use crate::dispatch::config::options::DEFAULT_IDLE_EXIT;
use crate::dispatch::config::settings_files::{SettingsFile, SettingsFiles};
use crate::error::{Error, Result, printable, shell_word};
use crate::http::{
    self, AgreeToRoutes, BudgetAccess, MessageOptions, RouteRules, ServeOptions, ServerAddresses, TokenRule,
};
#[cfg(feature = "mcp")]
use crate::mcp::AgentDispatch;
use crate::model::json::{self, Object};
use crate::model::task::object;
use crate::store::LoginPage;
use crate::workspace::Config;

const DEFAULT_PORT: u16 = 8765;
/// With fewer connections than this, the server prints a warning.
const FEW_CONNECTIONS: usize = 1000;

/// Serve the queue over HTTP, to programs and browsers.
///
/// GET /openapi.json describes every route. Clients authenticate with the token that the store keeps in
/// serve.token, unless --token-file names another one. Web pages of other origins are refused.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes serve
  lanes serve --open
  lanes serve --socket \"$XDG_RUNTIME_DIR/lanes.sock\"
  lanes serve --host 0.0.0.0 --token-file ~/.config/lanes/token")]
pub(super) struct ServeCommand {
    /// Address to listen on: an IP address, or localhost [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on; 0 chooses a free one [default: 8765]
    #[arg(long, value_name = "N", value_parser = port, allow_negative_numbers = true)]
    port: Option<u16>,
    /// Unix socket to listen on, which only you can reach; without --host and --port, TCP is then not served
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// File with the token that clients must present, readable only by you; required beyond the loopback
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Require no token: every user and every sandbox that can reach the port may use the queue. Only for
    /// the loopback, and for clients that cannot send a token, such as those of agent-lanes
    #[arg(long, conflicts_with_all = ["token_file", "enable_queue_management", "open"])]
    no_token: bool,
    /// Open the web interface in your browser, and print an address that admits one browser, once and within five
    /// minutes
    #[arg(long)]
    open: bool,
    /// Directory, in addition to the workspace root, for workspaces and worktrees of tasks; repeatable
    #[arg(long, value_name = "DIR")]
    allow_root: Vec<PathBuf>,
    /// Host name, in addition to localhost, under which clients may address the server; repeatable
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Let clients describe, rename, pause and delete lanes, and change dispatch routes
    #[arg(long)]
    enable_queue_management: bool,
    /// Let clients also choose in a route which program runs, how, and with which permissions: anyone with
    /// the token can then run any program as you
    #[arg(long, requires_all = ["enable_queue_management", "token_file"])]
    allow_route_programs: bool,
    /// Serve no web interface at /, only the routes for programs
    #[arg(long)]
    no_ui: bool,
    /// Only show the queue: refuse every request that may change something
    #[arg(long, conflicts_with_all = ["enable_queue_management"])]
    #[cfg_attr(feature = "mcp", arg(conflicts_with = "mcp"))]
    read_only: bool,
    /// Also serve the tools of `lanes mcp` to chats, at the path /mcp
    #[cfg(feature = "mcp")]
    #[arg(long)]
    mcp: bool,
    /// The tools to offer there: caller, worker, admin, or all; several with commas [default: caller,worker]
    #[cfg(feature = "mcp")]
    #[arg(long, value_name = "SETS", value_delimiter = ',', requires = "mcp")]
    mcp_tools: Vec<String>,
    /// Require no token at /mcp: every user and every sandbox that can reach the port may use the tools. Only for
    /// the loopback, and for clients that cannot send a token
    #[cfg(feature = "mcp")]
    #[arg(long, requires = "mcp")]
    mcp_no_token: bool,
    /// Start no dispatcher for an agent that nobody serves; with --mcp-no-token, none is ever started
    #[cfg(feature = "mcp")]
    #[arg(long, requires = "mcp")]
    mcp_no_dispatch: bool,
    /// Log each response as a line of JSON on standard error
    #[arg(long)]
    log: bool,
}

fn port(text: &str) -> std::result::Result<u16, String> {
    text.trim().parse().map_err(|_| "expected a port from 0 to 65535".to_string())
}

/// Returns the lines that describe how to connect and authenticate. They contain no secret except the requested
/// login code.
fn announcement(places: &ServerAddresses) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(address) = places.address {
        lines.push(format!("lanes: serving on http://{address}"));
        lines.push(match &places.token_file {
            // The token is passed on standard input, since every user can see the arguments of a command.
            Some(path) => format!(
                "lanes: to query it: printf 'header=\"Authorization: Bearer %s\"' \"$(cat {})\" | \
                 curl -K - http://{address}/status",
                shell_word(&path.to_string_lossy())
            ),
            None => {
                "lanes: no token is required: anyone who can reach the port may use the queue".to_string()
            }
        });
    }
    if let (Some(address), Some(messages)) = (places.address, &places.messages) {
        lines.push(match &messages.token_file {
            Some(path) => format!(
                "lanes: tools for chats: http://{address}{}, with the token in {}",
                messages.path,
                printable(&path.to_string_lossy())
            ),
            None => format!("lanes: tools for chats: http://{address}{}, without a token", messages.path),
        });
    }
    if let Some(path) = &places.socket {
        let path = path.to_string_lossy();
        lines.push(format!("lanes: serving on {}", printable(&path)));
        lines.push(format!(
            "lanes: to query it: curl --unix-socket {} http://localhost/status",
            shell_word(&path)
        ));
    }
    if let Some(address) = &places.browser {
        lines.push(format!("lanes: open once, within 5 minutes: {address}"));
    }
    lines
}

/// Returns a page that forwards to an address.
fn forwarding_page(address: &str) -> String {
    // The address has no character with a meaning in HTML.
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>lanes</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url={address}\">\n<a href=\"{address}\">lanes</a>\n"
    )
}

/// Records trust in the routes that authenticated clients set, so that a dispatcher does not ask for it.
fn agree_to_routes(context: &CommandContext) -> Result<AgreeToRoutes> {
    let (policy, clock) = (ConsentPolicy::new(env::trust_records()), context.store_options()?.clock);
    Ok(Box::new(move |config, path, before, after| {
        // If it cannot be recorded, the dispatcher asks.
        let files = |routes: &Object| {
            let text = json::to_text(&object([("routes", routes.clone().into())]));
            SettingsFiles {
                routes: Some(SettingsFile { path: path.to_path_buf(), text }),
                ..SettingsFiles::default()
            }
        };
        let _ = policy.trust_stored_change(config, path, (&files(before), &files(after)), clock.now().wall);
    }))
}

/// Returns standard error with a descriptor of its own, so that a thread blocked on it holds no lock.
fn own_stderr() -> Result<Box<dyn Write + Send>> {
    let own = std::io::stderr().as_fd().try_clone_to_owned();
    own.map(|fd| Box::new(File::from(fd)) as _)
        .map_err(|error| Error::io("write to", "standard error", error))
}

impl ServeCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_json("serve", "its addresses are lines; `--log json` makes its log JSON")?;
        inside_run::refuse(context, "serve")?;
        let (config, store) = context.workspace()?;
        if !config.may_reach(&config.workspace_root) {
            let root = printable(&config.workspace_root.to_string_lossy());
            return Err(Error::config(format!("workspace_root leads out of the repository: {root}"))
                .with_hint("review the configuration, then name it with --config to serve files there"));
        }
        for warning in &config.warnings {
            context.out.warn(warning);
        }
        let address = self.address()?;
        let socket = self.socket.as_deref().map(|path| context.base.absolute(path)).transpose()?;
        if self.open && address.is_none() {
            return Err(Error::invalid("a browser cannot open a socket in the file system")
                .with_hint("add --port to serve TCP as well"));
        }
        let messages = self.messages(context, &config)?;
        let options = ServeOptions {
            config,
            store,
            address,
            socket,
            token: match &self.token_file {
                Some(path) => TokenRule::File(path.clone()),
                None if self.no_token => TokenRule::Nothing,
                None => TokenRule::OfStore,
            },
            opens: self.open,
            allow_roots: self.allow_root.clone(),
            allow_hosts: self.allow_host.clone(),
            manage_queues: self.enable_queue_management,
            routes: RouteRules {
                programs: self.allow_route_programs,
                check: check_route,
                agree: agree_to_routes(context)?,
                restricted_change: restricted_route_change,
            },
            budgets: BudgetAccess { show: show_budgets, raise: raise_budgets },
            run_stats: |config, store, days| stats_object(Some(config), store, days),
            has_ui: !self.no_ui,
            is_read_only: self.read_only,
            messages,
            access_log: self.log.then(own_stderr).transpose()?,
        };
        let beside = (context.workspace()?.1, options.config.clone());
        let consent = ConsentPolicy::new(env::trust_records());
        let automation = Automation::new(&beside.0, beside.1, consent, true, &AutomationEvent::print);
        // Removed when the server has ended.
        let mut login_page: Option<LoginPage> = None;
        let announce = |places: &ServerAddresses| {
            if places.address.is_some_and(|address| !address.ip().is_loopback()) {
                print_error_line(
                    "warning: other machines can reach this server, and the connection is not encrypted",
                );
            }
            if places.connections < FEW_CONNECTIONS {
                print_error_line(&format!(
                    "lanes: warning: only {} clients can be connected at once, because of the limit on open files; raise the \
                     limit: `ulimit -n`, or LimitNOFILE= of a service",
                    places.connections
                ));
            }
            for line in announcement(places) {
                context.out.line(&line)?;
            }
            context.out.flush()?;
            if let Some(address) = places.browser.as_ref().filter(|_| is_seen()) {
                let page = beside.0.spool().login_page(&forwarding_page(address))?;
                open_page(&page.path());
                login_page = Some(page);
            }
            Ok(())
        };
        automation.during(|| http::serve(options, announce))?;
        Ok(CommandExit::Done)
    }

    #[cfg(feature = "mcp")]
    fn messages(&self, context: &CommandContext, config: &Config) -> Result<Option<MessageOptions>> {
        if !self.mcp {
            return Ok(None);
        }
        let dispatch = if self.mcp_no_dispatch {
            AgentDispatch::Never("--mcp-no-dispatch was given to lanes serve")
        } else if self.mcp_no_token {
            // Whoever reaches the port could spend money otherwise.
            AgentDispatch::Never("lanes serve requires no token of its clients")
        } else {
            AgentDispatch::OnDemand(Box::new(OnDemandStarter::new(DEFAULT_IDLE_EXIT, false)))
        };
        let endpoint = mcp_over_http::endpoint(context, config, &self.mcp_tools, dispatch)?;
        Ok(Some(MessageOptions { endpoint, needs_token: !self.mcp_no_token }))
    }

    #[cfg(not(feature = "mcp"))]
    fn messages(&self, _: &CommandContext, _: &Config) -> Result<Option<MessageOptions>> {
        Ok(None)
    }

    /// Returns the TCP address to serve; `None` if only a Unix socket is requested.
    fn address(&self) -> Result<Option<SocketAddr>> {
        if self.socket.is_some() && self.host.is_none() && self.port.is_none() {
            return Ok(None);
        }
        let host = match self.host.as_deref() {
            None | Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(host) => host.parse().map_err(|_| {
                Error::invalid(format!("--host is not an IP address: {}", printable(host)))
                    .with_hint("127.0.0.1 is this machine alone, 0.0.0.0 every network it is in")
            })?,
        };
        Ok(Some(SocketAddr::new(host, self.port.unwrap_or(DEFAULT_PORT))))
    }
}
