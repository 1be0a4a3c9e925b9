//! Changes the agents of agents.json, for commands and for clients of chats.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::agent_inspection::vendor_of;
use super::agent_rights::{AgentVersion, bypass, widened_right};
use super::agent_sections::agent_keys;
use super::consent::ConsentPolicy;
use super::load::read_settings;
use super::settings_files::{SettingsFile, SettingsFiles};
use super::{DispatchConfig, vendor_match};
use crate::error::{Error, Result, brief_list, printable};
use crate::model::json::{self, Object};
use crate::model::task::object;
use crate::model::{AgentName, Now};
use crate::store::Store;
use crate::workspace::{AgentChange, AgentRights, AgentSource, Config, agents, home, real_path};

/// The key of an agent's directory.
const DIRECTORY: &str = "directory";

/// Changes agents of a workspace.
pub(crate) struct AgentEditor<'a> {
    /// The workspace.
    pub workspace: &'a Config,
    /// Its store.
    pub store: &'a Store,
    /// Where the agreement to the change is recorded, for a store in a repository.
    pub consent: &'a ConsentPolicy,
    /// How far a change may go.
    pub rights: AgentRights,
}

impl AgentEditor<'_> {
    /// Changes one agent, under the store lock.
    ///
    /// # Errors
    /// `Refused` for an agent that is defined elsewhere, one that exists already, and what `rights` do not allow;
    /// `NotFound`; `Invalid` or `Config` for settings that cannot be used; as [`Store::change_agents`]. Nothing is
    /// written then.
    #[cfg(feature = "mcp")]
    pub(crate) fn change(&self, name: &AgentName, change: &AgentChange) -> Result<()> {
        self.change_all(&[(name.clone(), change.clone())])
    }

    /// Changes several agents, all or none.
    ///
    /// # Errors
    /// As [`AgentEditor::change`].
    pub(crate) fn change_all(&self, changes: &[(AgentName, AgentChange)]) -> Result<()> {
        self.store.change_agents(|stored| {
            let before = SettingsFiles::read(self.workspace, Some(self.store))?;
            let original = stored.clone();
            for (name, change) in changes {
                self.apply(stored, name, change)?;
            }
            let text = json::to_text(&object([("agents", stored.clone().into())]));
            let file = SettingsFile { path: self.store.agents_path(), text };
            let after = SettingsFiles { stored_agents: Some(file), ..before.clone() };
            let new = read_settings(self.workspace, &after)?;
            for (name, change) in changes.iter().filter(|(_, change)| *change != AgentChange::Remove) {
                self.check(&new, name, change, (&original, stored))?;
            }
            self.record_consent(&before, &after, &self.store.now());
            Ok(())
        })
    }

    /// Applies a change to the agents of agents.json.
    fn apply(&self, stored: &mut Object, name: &AgentName, change: &AgentChange) -> Result<()> {
        let shown = printable(name.as_str());
        // What handoff.yaml has does not count in the store, and may be removed from there.
        if *change != AgentChange::Remove || !stored.contains_key(name.as_str()) {
            self.refuse_if_elsewhere(name)?;
        }
        let unknown = || {
            let error = Error::not_found(format!("no agent '{shown}' in agents.json"));
            match stored.is_empty() {
                true => error.with_hint("`lanes agents` lists the agents"),
                false => error.with_hint(format!("choose one of {}", brief_list(stored.keys()))),
            }
        };
        match change {
            AgentChange::Remove => {
                if !stored.contains_key(name.as_str()) {
                    return Err(unknown());
                }
                stored.remove(name.as_str());
            }
            AgentChange::Add(settings) => {
                if stored.contains_key(name.as_str()) {
                    return Err(Error::refused(format!("agent '{shown}' exists already"))
                        .with_hint(format!("`lanes agents set {shown}` changes it")));
                }
                let settings = self.with_real_directory(settings.clone())?;
                if !settings.contains_key(DIRECTORY) {
                    return Err(Error::invalid(format!("agent '{shown}' needs a directory")));
                }
                stored.insert(name.as_str().to_string(), settings.into());
            }
            AgentChange::Set { settings, unset } => {
                let Some(Value::Object(own)) = stored.get(name.as_str()) else { return Err(unknown()) };
                let mut own = own.clone();
                let known = agent_keys();
                if let Some(key) =
                    unset.iter().find(|key| !known.contains(&key.as_str()) || *key == DIRECTORY)
                {
                    return Err(Error::invalid(format!(
                        "'{}' is not a setting that can be removed",
                        printable(key)
                    )));
                }
                own.retain(|key, _| !unset.contains(key));
                own.extend(self.with_real_directory(settings.clone())?);
                stored.insert(name.as_str().to_string(), own.into());
            }
        }
        Ok(())
    }

    /// Refuses a change of an agent that agents.json does not decide about.
    fn refuse_if_elsewhere(&self, name: &AgentName) -> Result<()> {
        let place = match agents(self.workspace, Some(self.store))?.get(name).map(|agent| agent.source) {
            Some(AgentSource::Config) => "in handoff.yaml",
            Some(AgentSource::Imported) => "in the file that `agents_from` names",
            Some(AgentSource::Route) => "the route of its lane",
            Some(AgentSource::Store | AgentSource::Lane) | None => return Ok(()),
        };
        Err(Error::refused(format!("agent '{}' is {place}", printable(name.as_str())))
            .with_hint("change it there, or choose another name"))
    }

    /// Returns settings whose directory, if they have one, is the real path of a directory in which agents may work.
    fn with_real_directory(&self, mut settings: Object) -> Result<Object> {
        let Some(given) = settings.get(DIRECTORY) else { return Ok(settings) };
        let given = given.as_str().ok_or_else(|| Error::invalid("'directory' must be text"))?;
        let directory = self.admitted_directory(given)?;
        let text = directory.to_str().ok_or_else(|| {
            Error::invalid(format!("the path is not UTF-8: {}", printable(&directory.to_string_lossy())))
        })?;
        settings.insert(DIRECTORY.to_string(), text.into());
        Ok(settings)
    }

    /// Returns the real path of a directory, relative to that of the workspace, in which an agent may work.
    fn admitted_directory(&self, given: &str) -> Result<PathBuf> {
        let shown = printable(given);
        let real = real_path(&self.workspace.workspace_root, Path::new(given))?;
        if self.rights == AgentRights::Everything {
            if !real.is_dir() {
                return Err(Error::invalid_here(format!("directory {shown} does not exist")));
            }
        } else {
            // Outside the roots, a client does not learn what exists.
            let roots = self
                .workspace
                .agent_roots
                .iter()
                .map(|root| root.canonicalize().unwrap_or_else(|_| root.clone()));
            let roots: Vec<PathBuf> = roots.collect();
            if !roots.iter().any(|root| real.starts_with(root)) {
                let roots = brief_list(roots.iter().map(|root| root.to_string_lossy()));
                return Err(Error::refused(format!(
                    "directory {shown} is outside the directories for agents"
                ))
                .with_hint(format!("choose one below {roots}, or extend `agent_roots` in handoff.yaml")));
            }
            if !real.is_dir() {
                return Err(Error::invalid_here(format!("directory {shown} does not exist")));
            }
            if home().is_some_and(|home| home.canonicalize().unwrap_or(home).starts_with(&real)) {
                return Err(Error::refused(format!("directory {shown} contains the whole home directory"))
                    .with_hint("choose one below it"));
            }
        }
        if self.store.contains(&real)? {
            return Err(Error::refused(format!("directory {shown} is in the state directory")));
        }
        Ok(real)
    }

    /// Checks that the settings of a changed agent can be used, and are within the rights of the caller.
    fn check(
        &self,
        new: &DispatchConfig,
        name: &AgentName,
        change: &AgentChange,
        (before, after): (&Object, &Object),
    ) -> Result<()> {
        let shown = printable(name.as_str());
        let route = new.route(name.lane());
        let Some(vendor) = vendor_of(new, &route)? else {
            return Err(Error::invalid_here(format!("no vendor serves agent '{shown}'"))
                .with_hint("give it a vendor, or all agents with `vendor:` under dispatch in handoff.yaml"));
        };
        vendor_match::check_settings(new, &route, &vendor, false)?;
        if self.rights == AgentRights::Everything {
            return Ok(());
        }
        let given = match change {
            AgentChange::Add(settings) | AgentChange::Set { settings, .. } => settings,
            AgentChange::Remove => return Ok(()),
        };
        // The defaults of a person may bypass permissions; a client may not choose what does.
        let chooses_vendor = self.rights == AgentRights::WithoutMoreRights && given.contains_key("vendor");
        let is_chosen = chooses_vendor || given.contains_key("permission_mode");
        if let Some(right) = bypass(&route, &vendor).filter(|_| is_chosen) {
            return Err(Error::refused(format!("'{}' lets an agent do everything", printable(&right)))
                .with_hint("a person may write that in handoff.yaml"));
        }
        if self.rights == AgentRights::WithinRoots {
            return Ok(());
        }
        // A new agent is compared with one that has a directory and a vendor, and otherwise the defaults.
        let least = |settings: &Object| {
            let keys = [DIRECTORY, "vendor"].into_iter();
            keys.filter_map(|key| Some((key.to_string(), settings.get(key)?.clone()))).collect::<Object>()
        };
        let own = |agents: &Object| agents.get(name.as_str()).and_then(Value::as_object).cloned();
        let after = own(after).unwrap_or_default();
        let before = own(before);
        // The rights of an agent hold in its directory; in another one, it has at most those of a new agent.
        let is_at_home = before.as_ref().is_some_and(|before| before.get(DIRECTORY) == after.get(DIRECTORY));
        let of_new_agent = (!is_at_home).then(|| least(&after));
        for before in before.into_iter().chain(of_new_agent) {
            let old = self.with_agent(name, &before)?;
            let old_route = old.route(name.lane());
            let old_vendor = vendor_of(&old, &old_route)?.unwrap_or_else(|| vendor.clone());
            let before = AgentVersion { settings: &before, route: &old_route, vendor: &old_vendor };
            let after = AgentVersion { settings: &after, route: &route, vendor: &vendor };
            if let Some(why) = widened_right(&before, &after) {
                return Err(Error::refused(format!("agent '{shown}' would get more rights: {why}"))
                    .with_hint(
                        "a person may do it with `lanes agents`, or start the server with --allow-rights",
                    ));
            }
        }
        Ok(())
    }

    /// Returns the settings of the dispatcher with one agent alone in agents.json.
    fn with_agent(&self, name: &AgentName, settings: &Object) -> Result<DispatchConfig> {
        let agents = Object::from_iter([(name.as_str().to_string(), settings.clone().into())]);
        let text = json::to_text(&object([("agents", agents.into())]));
        let file = SettingsFile { path: self.store.agents_path(), text };
        let files = SettingsFiles { stored_agents: Some(file), ..SettingsFiles::default() };
        read_settings(self.workspace, &files)
    }

    /// Records the agreement to the change, so that a dispatcher does not ask for it. If that fails, the dispatcher asks.
    fn record_consent(&self, before: &SettingsFiles, after: &SettingsFiles, now: &Now) {
        let path = self.store.agents_path();
        let _ = self.consent.trust_stored_change(self.workspace, &path, (before, after), now.wall);
    }
}
