//! What is kept for lanes, vendors, routes, agents, schedules, notices and bridges, and the answers that are given again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Engine, Store};
use crate::error::Result;
#[cfg(feature = "mcp")]
use crate::model::Sha256;
#[cfg(feature = "mcp")]
use crate::model::answer_cache::CachedAnswer;
use crate::model::bridge::record::BridgeRecords;
use crate::model::json::Object;
use crate::model::{Cooldown, CooldownKey, Cooldowns, LaneName, Time};
use crate::store::{
    CooldownChange, FileLock, FileVersion, NoticeState, Pause, ScheduleRecord, ScheduleRecords,
};

impl Store {
    /// Reads agents.json; returns its path and its text if there is one.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, too large, not UTF-8, or one that another user may have
    /// written, since it chooses what runs; `Io`.
    pub(crate) fn agents_text(&self) -> Result<Option<(PathBuf, String)>> {
        engine!(self, agents_text())
    }

    /// Returns the path of agents.json, whether or not it exists.
    pub(crate) fn agents_path(&self) -> PathBuf {
        engine!(self, agents_path())
    }

    /// Returns the agents of agents.json: name → settings.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read; `Io`.
    pub(crate) fn agents(&self) -> Result<Object> {
        engine!(self, agents())
    }

    /// Changes the agents of agents.json and wakes the dispatchers, which load it again.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt`, `NewerFormat`, `Locked`, `Io`; each with nothing written.
    pub(crate) fn change_agents(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        files!(self, change_agents(change))
    }

    /// Returns the present version of agents.json; `None` when there is none.
    pub(crate) fn agents_version(&self) -> Option<FileVersion> {
        engine!(self, agents_version())
    }

    /// Returns the entry of a request, if it is valid now.
    ///
    /// # Errors
    /// `Io` when the directory cannot be opened.
    #[cfg(feature = "mcp")]
    pub(crate) fn cached_answer(&self, request: &Sha256) -> Result<Option<CachedAnswer>> {
        files!(self, cached_answer(request))
    }

    /// Adds or replaces the entry of a request. When there are too many, those that expire first make room.
    ///
    /// # Errors
    /// `NewerFormat`, `Locked`, `Io`.
    #[cfg(feature = "mcp")]
    pub(crate) fn cache_answer(&self, request: &Sha256, entry: &CachedAnswer) -> Result<()> {
        files!(self, cache_answer(request, entry))
    }

    /// Removes the entry of a request.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    #[cfg(feature = "mcp")]
    pub(crate) fn forget_cached_answer(&self, request: &Sha256) -> Result<()> {
        files!(self, forget_cached_answer(request))
    }

    /// Returns the number of valid entries.
    ///
    /// # Errors
    /// `Io`.
    #[cfg(feature = "mcp")]
    pub(crate) fn count_cached_answers(&self) -> Result<usize> {
        files!(self, count_cached_answers())
    }

    /// Removes all entries, and returns how many there were.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    #[cfg(feature = "mcp")]
    pub(crate) fn clear_answer_cache(&self) -> Result<usize> {
        files!(self, clear_answer_cache())
    }

    /// Takes the lock by which one process at a time is the bridge `name`; `None` when another process has it.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be one; `NewerFormat`, `Io`.
    pub(crate) fn try_bridge_lock(&self, name: &str) -> Result<Option<FileLock>> {
        files!(self, try_bridge_lock(name))
    }

    /// Reads what the bridge `name` remembers; `None` when there is nothing, or nothing that can be used.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn bridge_records(&self, name: &str) -> Result<Option<BridgeRecords>> {
        files!(self, bridge_records(name))
    }

    /// Replaces what the bridge `name` remembers; once this returns, it survives a power cut.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    pub(crate) fn save_bridge_records(&self, name: &str, records: &BridgeRecords) -> Result<()> {
        files!(self, save_bridge_records(name, records))
    }

    /// Reads routes.json; returns its path and its text if there is one.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, too large, not UTF-8, or one that another user may have
    /// written, since it chooses what runs; `Io`.
    pub fn routes_text(&self) -> Result<Option<(PathBuf, String)>> {
        engine!(self, routes_text())
    }

    /// Returns the path of routes.json, whether or not it exists.
    pub fn routes_path(&self) -> PathBuf {
        engine!(self, routes_path())
    }

    /// Returns the routes of routes.json: lane → route, or null for a lane whose route in the configuration
    /// file does not count.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read; `Io`.
    pub(crate) fn routes(&self) -> Result<Object> {
        engine!(self, routes())
    }

    /// Changes the routes of routes.json and wakes the dispatchers, which load it again.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt`, `NewerFormat`, `Locked`, `Io`; each with nothing written.
    pub(crate) fn change_routes(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        files!(self, change_routes(change))
    }

    /// Returns the present version of routes.json; `None` when there is none.
    pub(crate) fn routes_version(&self) -> Option<FileVersion> {
        engine!(self, routes_version())
    }

    /// Returns the paused lanes.
    ///
    /// # Errors
    /// `Corrupt` when lanes.json cannot be read, so that nothing is claimed from a lane that may be paused; `Io`.
    pub fn paused(&self) -> Result<BTreeMap<LaneName, Pause>> {
        engine!(self, paused())
    }

    /// Pauses a lane: no task of it is handed out, and what is claimed stays claimed. Returns `false` when it
    /// was paused already.
    ///
    /// # Errors
    /// `Corrupt` when lanes.json cannot be read, `NewerFormat`, `Locked`, `Io`; each with nothing changed.
    pub fn pause(&self, lane: &LaneName, reason: Option<&str>) -> Result<bool> {
        engine!(self, pause(lane, reason))
    }

    /// Hands out tasks of a lane again. Returns `false` when it was not paused.
    ///
    /// # Errors
    /// As [`Store::pause`].
    pub fn resume(&self, lane: &LaneName) -> Result<bool> {
        engine!(self, resume(lane))
    }

    /// Returns the descriptions of lanes that programs added: lane → object.
    ///
    /// # Errors
    /// `Corrupt` when board.json cannot be read; `Io`.
    pub fn lane_descriptions(&self) -> Result<Object> {
        engine!(self, lane_descriptions())
    }

    /// Changes the descriptions of lanes. The configuration file belongs to a person, with its comments and its
    /// order, so what programs add is kept in the store.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt` when board.json cannot be read, `NewerFormat`, `Locked`, `Io`; each with
    /// nothing written.
    pub fn change_lane_descriptions(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        files!(self, change_lane_descriptions(change))
    }

    /// Takes the lock of the process that delivers the notices of a workspace; `None` while another one does.
    ///
    /// # Errors
    /// `NewerFormat`, `Io`; `Corrupt` when something other than a file has its name.
    pub(crate) fn try_notice_lock(&self, workspace: &str) -> Result<Option<FileLock>> {
        files!(self, try_notice_lock(workspace))
    }

    /// Takes the lock that shows that a process runs the schedules and notices of a workspace; `None` while another one has
    /// it. Any number of processes may run them.
    ///
    /// # Errors
    /// As [`Store::try_notice_lock`].
    pub(crate) fn try_automation_lock(&self, workspace: &str) -> Result<Option<FileLock>> {
        files!(self, try_automation_lock(workspace))
    }

    /// Returns whether a process runs the schedules and notices of a workspace.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn automation_is_running(&self, workspace: &str) -> Result<bool> {
        files!(self, automation_is_running(workspace))
    }

    /// Returns what is delivered of the notices of a workspace; `None` when nothing is known of any.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read; `Io`.
    pub(crate) fn notice_state(&self, workspace: &str) -> Result<Option<NoticeState>> {
        files!(self, notice_state(workspace))
    }

    /// Records what is delivered of the notices of a workspace. The caller has the [lock](Self::try_notice_lock).
    ///
    /// # Errors
    /// `NewerFormat`, `Io`.
    pub(crate) fn set_notice_state(&self, workspace: &str, state: &NoticeState) -> Result<()> {
        files!(self, set_notice_state(workspace, state))
    }

    /// Returns what has become of all schedules.
    ///
    /// # Errors
    /// `Corrupt` when schedules.json cannot be read; `Io`.
    #[doc(hidden)]
    pub fn schedule_records(&self) -> Result<ScheduleRecords> {
        files!(self, schedule_records())
    }

    /// Records what has become of a schedule, unless another process has come further with it.
    ///
    /// # Errors
    /// `Corrupt` when schedules.json cannot be read; `NewerFormat`, `Locked`, `Io`; each with nothing changed.
    #[doc(hidden)]
    pub fn record_schedule(&self, workspace: &str, name: &str, record: &ScheduleRecord) -> Result<()> {
        files!(self, record_schedule(workspace, name, record))
    }

    /// Returns the last cooldowns by key, those that are over included.
    ///
    /// # Errors
    /// `Corrupt` when vendors.json cannot be read, so that no run starts for a vendor that may be paused; `Io`.
    pub(crate) fn cooldowns(&self) -> Result<Cooldowns> {
        engine!(self, cooldowns())
    }

    /// Returns the cooldowns that hold now.
    ///
    /// # Errors
    /// As [`Store::cooldowns`].
    #[doc(hidden)]
    pub fn active_cooldowns(&self) -> Result<Cooldowns> {
        engine!(self, active_cooldowns())
    }

    /// Changes the cooldown with this key as `decide` returns, which is called with the present one; no other
    /// process changes it meanwhile. Returns the decision.
    ///
    /// # Errors
    /// `Corrupt` when vendors.json cannot be read, `NewerFormat`, `Locked`, `Io`; each with nothing changed.
    pub(crate) fn change_cooldown(
        &self,
        key: &CooldownKey,
        decide: impl FnOnce(Option<&Cooldown>) -> CooldownChange,
    ) -> Result<CooldownChange> {
        files!(self, change_cooldown(key, decide))
    }

    /// Pauses a vendor, or one of its models, because a person asks for it. It replaces the present cooldown.
    ///
    /// # Errors
    /// As [`Store::change_cooldown`].
    #[doc(hidden)]
    pub fn pause_vendor(
        &self,
        vendor: &str,
        model: Option<&str>,
        until: Time,
        reason: Option<&str>,
    ) -> Result<Cooldown> {
        engine!(self, pause_vendor(vendor, model, until, reason))
    }

    /// Ends the cooldowns of a vendor and all of its models, or of one of its models, whatever their cause.
    /// Returns those that held.
    ///
    /// # Errors
    /// As [`Store::change_cooldown`].
    #[doc(hidden)]
    pub fn resume_vendor(&self, vendor: &str, model: Option<&str>) -> Result<Vec<Cooldown>> {
        engine!(self, resume_vendor(vendor, model))
    }
}
