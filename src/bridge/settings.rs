//! The configuration of a bridge: how many LLMs, what they are registered with, which weights are kept.

use super::config::{self, GENERATION_KEYS, Map, TENANT_KEYS};
use super::{Bridge, Llm};
use crate::llm::model_path;
use crate::memory::Shared;
use crate::tenant::keys;
use crate::{Error, Result, Status};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Keys of [`Bridge::configure`] beside `default_` and any key of a registration.
pub const BRIDGE_KEYS: [&str; 3] = ["max_llms", "default_model", "cache_models"];

const DEFAULT: &str = "default_";

/// What a bridge was told, and what that means.
#[derive(Clone, Default)]
pub(super) struct Config {
    given: Map,
    settings: Settings,
}

#[derive(Clone, Default)]
struct Settings {
    max_llms: Option<usize>,
    /// What a registration has that does not say otherwise.
    defaults: Map,
    cache: usize,
}

impl Settings {
    fn read(map: &Map) -> Result<Settings> {
        let known = |key: &String| {
            let plain = key.strip_prefix(DEFAULT);
            BRIDGE_KEYS.contains(&key.as_str())
                || plain.is_some_and(|k| TENANT_KEYS.contains(&k) || GENERATION_KEYS.contains(&k))
        };
        if let Some(key) = map.keys().find(|key| !known(key)) {
            return Err(Error::argument(key, "is no known key").advise(format!(
                "known are: {}, and default_ with any key of registerLLM, such as default_max_tokens",
                BRIDGE_KEYS.join(", ")
            )));
        }
        let mut defaults = Map::new();
        for (key, value) in map.iter().filter(|(key, _)| !BRIDGE_KEYS.contains(&key.as_str())) {
            defaults.insert(key[DEFAULT.len()..].to_owned(), value.clone());
        }
        let named = |e: Error| e.within("a default_ key of the bridge's configuration");
        config::generating(&defaults).map_err(named)?;
        config::placement(&defaults).map_err(named)?;
        if let Some(model) = map.get("default_model") {
            // A path where there is one, else a name.
            let (name, path) = match Path::new(model).exists() {
                true => ("", Some(Path::new(model))),
                false => (model.as_str(), None),
            };
            model_path(name, path).map_err(|e| e.within("default_model"))?;
            let key = if path.is_some() { "model_path" } else { "model_type" };
            if let Some(twice) = defaults.insert(key.to_owned(), model.clone()) {
                let text = format!("is {model:?} while default_{key} is {twice:?}");
                return Err(Error::argument("default_model", text));
            }
        }
        let mut map = map.clone();
        map.retain(|_, value| value != "unlimited");
        Ok(Settings {
            max_llms: keys::positive(&map, "max_llms")?,
            defaults,
            cache: keys::number(&map, "cache_models")?.unwrap_or(0),
        })
    }
}

/// Weights of LLMs that were unregistered, the latest last.
pub(super) type Cache = VecDeque<Arc<Shared>>;

impl Bridge {
    /// Changes configuration keys; the others stay, an empty value brings a key's default back. All of it or nothing.
    ///
    /// - `max_llms`: the most LLMs registered at a time (`unlimited`); those that are registered stay.
    /// - `default_model`: the name or path of the model for registrations that give neither.
    /// - `default_` and any key of a registration: its value for registrations that do not give it.
    /// - `cache_models`: of how many models the weights stay in the device's memory after their last LLM was
    ///   unregistered (0), so that registering them again reads no file. Tenants are not charged for them; they give way
    ///   when memory is short, and go at [`Bridge::shutdown`].
    ///
    /// May be called before `initialize`, and survives `shutdown`. Registered LLMs keep what they have.
    pub fn configure(&self, changes: &Map) -> Result<()> {
        let mut config = self.config.lock();
        let mut given = config.given.clone();
        for (key, value) in changes {
            match value.trim() {
                "" => given.remove(key),
                _ => given.insert(key.clone(), value.clone()),
            };
        }
        // Also the keys that are only taken back.
        let names = changes.keys().map(|key| (key.clone(), "1".to_owned()));
        if let Err(e) = Settings::read(&names.collect())
            && e.message().contains("is no known key")
        {
            return Err(e);
        }
        let settings = Settings::read(&given)?;
        let surplus = self.trim_cache(settings.cache);
        *config = Config { given, settings };
        drop(config);
        drop(surplus);
        Ok(())
    }

    /// Every key with what is in force for it; of the `default_` keys those that were set.
    pub fn configuration(&self) -> Map {
        let config = self.config.lock().clone();
        let mut all = config.given;
        let most = config.settings.max_llms.map_or("unlimited".to_owned(), |n| n.to_string());
        all.insert("max_llms".to_owned(), most);
        all.insert("cache_models".to_owned(), config.settings.cache.to_string());
        all.entry("default_model".to_owned()).or_insert_with(|| "default".to_owned());
        all.entry("default_max_tokens".to_owned()).or_insert_with(|| super::task::DEFAULT_TOKENS.to_string());
        all
    }

    /// A registration's configuration with the bridge's defaults below it.
    pub(super) fn with_defaults(&self, config: &Map) -> Map {
        let mut whole = self.config.lock().settings.defaults.clone();
        if config.contains_key("model_type") || config.contains_key("model_path") {
            // Which model was said: the default for the other key does not mean this one.
            whole.remove("model_type");
            whole.remove("model_path");
        }
        whole.extend(config.iter().map(|(k, v)| (k.clone(), v.clone())));
        whole
    }

    /// Refuses one more LLM than `max_llms`.
    pub(super) fn admits(&self, registered: usize) -> Result<()> {
        match self.config.lock().settings.max_llms {
            Some(most) if registered >= most => Err(Error::new(
                Status::QuotaExceeded,
                format!("{registered} LLMs are registered, max_llms is {most}"),
            )
            .advise("unregister one, or raise max_llms in the bridge's configuration")),
            _ => Ok(()),
        }
    }

    /// Keeps the weights of an LLM that goes, as far as `cache_models` says.
    pub(super) fn keep_weights(&self, llm: &Llm) {
        let most = self.config.lock().settings.cache;
        if let Some(image) = llm.model().weights().filter(|_| most > 0) {
            let mut cache = self.cache.lock();
            cache.retain(|kept| !Arc::ptr_eq(kept, &image));
            cache.push_back(image);
        }
        drop(self.trim_cache(most));
    }

    /// Takes the oldest out of the cache until so many are left. The caller drops them without a lock.
    #[must_use]
    pub(super) fn trim_cache(&self, most: usize) -> Cache {
        let mut cache = self.cache.lock();
        let surplus = cache.len().saturating_sub(most);
        cache.drain(..surplus).collect()
    }
}
