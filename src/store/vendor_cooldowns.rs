//! Cooldowns of vendors in `vendors.json`: until when a vendor, or one of its models, starts no run.

use serde_json::Value;

use super::FileStore;
use super::json_file::{DecodeResult, DocumentChange, JsonFile, admit_any};
use super::layout::VENDORS;
use crate::error::{Error, Result};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{
    Certainty, Cooldown, CooldownCause, CooldownKey, CooldownScope, Cooldowns, CooledModels, Time,
};

/// The keys of vendors.json. Refused accounts are stored under a key of their own, so that a version that does not
/// know them sees no cooldown.
const COOLDOWNS_KEY: &str = "parked";
const UNREADY_KEY: &str = "unready";

/// How long an expired cooldown is kept, in seconds: one that follows soon after it lasts longer.
const KEPT_SECONDS: f64 = 86_400.0;

const COOLDOWNS: JsonFile<Cooldowns> = JsonFile {
    name: VENDORS,
    max_bytes: 1024 * 1024,
    admit: admit_any,
    decode,
    encode,
    unreadable: |path, _| {
        Error::corrupt(format!("{path} cannot be read, so nothing is claimed for any vendor"))
            .with_hint("remove the file to end the pauses of all vendors")
    },
};

/// The change of a cooldown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CooldownChange {
    /// It stays as it is.
    Keep,
    /// This one replaces it.
    Set(Cooldown),
    /// It ends.
    Clear,
}

impl FileStore {
    pub(crate) fn cooldowns(&self) -> Result<Cooldowns> {
        COOLDOWNS.read(self)
    }

    pub(crate) fn active_cooldowns(&self) -> Result<Cooldowns> {
        let now = self.now().wall;
        let mut cooldowns = self.cooldowns()?;
        cooldowns.retain(|_, cooldown| cooldown.is_active(now));
        Ok(cooldowns)
    }

    pub(crate) fn change_cooldown(
        &self,
        key: &CooldownKey,
        decide: impl FnOnce(Option<&Cooldown>) -> CooldownChange,
    ) -> Result<CooldownChange> {
        self.change_cooldowns(|all| {
            let change = decide(all.get(key));
            match &change {
                CooldownChange::Keep => return DocumentChange::Keep(change),
                CooldownChange::Set(cooldown) => drop(all.insert(key.clone(), cooldown.clone())),
                CooldownChange::Clear => drop(all.remove(key)),
            }
            DocumentChange::Write(change)
        })
    }

    pub(crate) fn pause_vendor(
        &self,
        vendor: &str,
        model: Option<&str>,
        until: Time,
        reason: Option<&str>,
    ) -> Result<Cooldown> {
        let pause = Cooldown::by_person(vendor, model, self.now().wall, until, reason);
        self.change_cooldowns(|all| {
            all.insert(pause.scope.key(), pause.clone());
            DocumentChange::Write(pause)
        })
    }

    pub(crate) fn resume_vendor(&self, vendor: &str, model: Option<&str>) -> Result<Vec<Cooldown>> {
        let model = model.map(str::to_lowercase);
        let is_meant = |cooldown: &Cooldown| {
            cooldown.scope.account_key.as_str() == vendor
                && (model.is_none() || cooldown.scope.model() == model.as_deref())
        };
        let now = self.now().wall;
        self.change_cooldowns(|all| {
            let ended =
                all.values().filter(|cooldown| is_meant(cooldown) && cooldown.is_active(now)).cloned();
            let ended = ended.collect();
            all.retain(|_, cooldown| !is_meant(cooldown));
            DocumentChange::Write(ended)
        })
    }

    /// Changes the cooldowns, and wakes the dispatchers when they are written.
    fn change_cooldowns<R>(&self, change: impl FnOnce(&mut Cooldowns) -> DocumentChange<R>) -> Result<R> {
        let mut is_written = false;
        let result = COOLDOWNS.change(self, |all| {
            let edit = change(all);
            is_written = matches!(edit, DocumentChange::Write(_));
            let now = self.now().wall;
            all.retain(|_, cooldown| {
                cooldown.is_active(now) || now.seconds_since(cooldown.until) <= KEPT_SECONDS
            });
            Ok(edit)
        })?;
        if is_written {
            self.ring(&[]);
        }
        Ok(result)
    }
}

pub(super) fn encode(all: Cooldowns) -> Object {
    let part = |is_account: bool| {
        let is_part = |cooldown: &Cooldown| (cooldown.cause == CooldownCause::Account) == is_account;
        Value::Object(all.iter().filter(|(_, cooldown)| is_part(cooldown)).map(encode_entry).collect())
    };
    object([(COOLDOWNS_KEY, part(false)), (UNREADY_KEY, part(true))])
}

pub(super) fn decode(file: Object) -> DecodeResult<Cooldowns> {
    let mut all = Cooldowns::new();
    for (name, part) in
        [COOLDOWNS_KEY, UNREADY_KEY].into_iter().filter_map(|name| Some((name, file.get(name)?)))
    {
        for (key, entry) in part.as_object().ok_or_else(|| format!("'{name}' is not an object"))? {
            let cooldown = decode_entry(key, entry).ok_or_else(|| format!("'{key}' has no times"))?;
            all.insert(CooldownKey::from_text(key.as_str()), cooldown);
        }
    }
    Ok(all)
}

fn encode_entry((key, cooldown): (&CooldownKey, &Cooldown)) -> (String, Value) {
    let mut entry = object([
        ("since", cooldown.since.to_string().into()),
        ("until", cooldown.until.to_string().into()),
        ("reason", cooldown.reason.clone().into()),
        ("strikes", cooldown.strikes.into()),
        ("named", (cooldown.certainty > Certainty::Guess).into()),
        ("exact", (cooldown.certainty == Certainty::Exact).into()),
        ("kind", cooldown.cause.as_str().into()),
    ]);
    let CooldownScope { account_key, models } = &cooldown.scope;
    if let CooledModels::One { name, by_default } = models {
        entry.extend(object([
            ("vendor", account_key.as_str().into()),
            ("model", name.as_str().into()),
            ("by_default", (*by_default).into()),
        ]));
    }
    (key.to_string(), Value::Object(entry))
}

fn decode_entry(key: &str, entry: &Value) -> Option<Cooldown> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let time = |key: &str| Time::parse(text(key)?).ok();
    let is = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
    let models = match text("model") {
        Some(name) => CooledModels::One { name: name.to_string(), by_default: is("by_default") },
        None => CooledModels::All,
    };
    Some(Cooldown {
        scope: CooldownScope { account_key: CooldownKey::from_text(text("vendor").unwrap_or(key)), models },
        cause: text("kind").and_then(CooldownCause::parse).unwrap_or(CooldownCause::UsageLimit),
        since: time("since")?,
        until: time("until")?,
        certainty: match (is("exact"), is("named")) {
            (true, _) => Certainty::Exact,
            (_, true) => Certainty::Named,
            _ => Certainty::Guess,
        },
        reason: text("reason").unwrap_or_default().to_string(),
        strikes: entry
            .get("strikes")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}
