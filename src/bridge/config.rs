//! The configuration of an LLM: text keys to values, checked.

use crate::compute::Priority;
use crate::llm::{ModelOptions, Sampling};
use crate::quant::DType;
use crate::tenant::keys;
use crate::{Error, Result};
use std::path::PathBuf;

pub use crate::tenant::keys::{Map, check_keys};

/// Keys that say where and how an LLM lives. They are read when it is registered.
pub const TENANT_KEYS: [&str; 11] = [
    "model_type",
    "model_path",
    "device",
    "max_memory",
    "max_cores",
    "weight",
    "priority",
    "context",
    "max_sequences",
    "kv_type",
    "exact_head",
];

/// Of [`TENANT_KEYS`] those that can be changed while the LLM is registered.
pub const LIVE_KEYS: [&str; 4] = ["max_memory", "max_cores", "weight", "priority"];

/// Keys that say how it generates. They can be given at registration, changed later, and overridden by each task.
pub const GENERATION_KEYS: [&str; 15] = [
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "ignore_eos",
    "chat",
    "system",
    "prompt",
    "logprobs",
];

/// Where and how an LLM lives.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Name of the model, when no path is given.
    pub model_type: String,
    /// Path of the model.
    pub model_path: Option<PathBuf>,
    /// `cpu`, `cuda`, `cuda:N`; `None` for the current device.
    pub device: Option<String>,
    /// The most bytes it may hold (`max_memory` is in MiB).
    pub memory_limit: Option<u64>,
    /// Cores or SMs of its own node.
    pub processors: u32,
    /// Its weight.
    pub weight: Option<f64>,
    /// Its priority.
    pub priority: Option<Priority>,
    /// How its model is run.
    pub options: ModelOptions,
}

/// How an LLM generates.
#[derive(Clone, Debug)]
pub struct Generating {
    /// What to continue or answer; `None` starts from nothing.
    pub prompt: Option<String>,
    /// The prompt is a user's message, put through the model's chat template.
    pub chat: bool,
    /// The system message of a chat.
    pub system: Option<String>,
    /// The most tokens to make.
    pub max_tokens: Option<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Stop strings (the value holds one a line).
    pub stop: Vec<String>,
    /// Never draw the tokens that end a text.
    pub ignore_eos: bool,
    /// Alternatives whose log-probabilities are reported.
    pub logprobs: Option<u32>,
}

/// Reads [`TENANT_KEYS`].
pub fn placement(map: &Map) -> Result<Placement> {
    let kv = match map.get("kv_type").map(String::as_str) {
        None => None,
        Some("f16") => Some(DType::F16),
        Some("f32") => Some(DType::F32),
        Some(other) => return Err(Error::argument("kv_type", format!("{other:?} is not f16 or f32"))),
    };
    let text = |key: &str| map.get(key).filter(|v| !v.is_empty()).cloned();
    Ok(Placement {
        model_type: text("model_type").unwrap_or_default(),
        model_path: text("model_path").map(PathBuf::from),
        device: text("device"),
        memory_limit: keys::mib(map, "max_memory")?,
        processors: keys::number(map, "max_cores")?.unwrap_or(0),
        weight: keys::weight(map, "weight")?,
        priority: map.get("priority").map(|p| Priority::from_name(p)).transpose()?,
        options: ModelOptions {
            context: keys::number(map, "context")?,
            max_sequences: keys::number(map, "max_sequences")?,
            kv,
            exact_head: keys::flag(map, "exact_head")?.unwrap_or(false),
            ..ModelOptions::default()
        },
    })
}

/// Reads [`GENERATION_KEYS`]; what is not given has the engine's default.
pub fn generating(map: &Map) -> Result<Generating> {
    let default = Sampling::default();
    let sampling = Sampling {
        temperature: keys::number(map, "temperature")?.unwrap_or(default.temperature),
        top_k: keys::number(map, "top_k")?.unwrap_or(default.top_k),
        top_p: keys::number(map, "top_p")?.unwrap_or(default.top_p),
        min_p: keys::number(map, "min_p")?.unwrap_or(default.min_p),
        repeat_penalty: keys::number(map, "repeat_penalty")?.unwrap_or(default.repeat_penalty),
        presence_penalty: keys::number(map, "presence_penalty")?.unwrap_or(default.presence_penalty),
        frequency_penalty: keys::number(map, "frequency_penalty")?.unwrap_or(default.frequency_penalty),
        seed: keys::number(map, "seed")?,
        ..default
    };
    sampling.check(u32::MAX)?;
    let max_tokens = keys::number(map, "max_tokens")?;
    if max_tokens == Some(0) {
        return Err(Error::argument("max_tokens", "must not be 0"));
    }
    let stop = map.get("stop").map_or("", String::as_str);
    Ok(Generating {
        prompt: map.get("prompt").cloned(),
        chat: keys::flag(map, "chat")?.unwrap_or(false),
        system: map.get("system").cloned(),
        max_tokens,
        sampling,
        stop: stop.lines().filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        ignore_eos: keys::flag(map, "ignore_eos")?.unwrap_or(false),
        logprobs: match map.get("logprobs").map(String::as_str) {
            Some("true") => Some(0),
            Some("false") => None,
            _ => keys::number(map, "logprobs")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_is_no_number_is_told_in_words() {
        let refused = generating(&map(&[("max_tokens", "many")])).err().unwrap().to_string();
        assert!(refused.contains("`max_tokens`") && refused.contains("whole number from 0"), "{refused}");
        let refused = generating(&map(&[("temperature", "hot")])).err().unwrap().to_string();
        assert!(refused.contains("`temperature`") && refused.ends_with("is no number"), "{refused}");
    }

    #[test]
    fn values_are_read_and_bad_ones_named() {
        let read = generating(&map(&[("temperature", "0.7"), ("stop", "\nEND\n##"), ("seed", "7")])).unwrap();
        assert_eq!(read.sampling.temperature, 0.7);
        assert_eq!(read.stop, ["END", "##"]);
        assert_eq!(read.sampling.seed, Some(7));
        for (text, count) in [("true", Some(0)), ("false", None), ("3", Some(3))] {
            assert_eq!(generating(&map(&[("logprobs", text)])).unwrap().logprobs, count);
        }
        assert_eq!(placement(&map(&[("max_memory", "8")])).unwrap().memory_limit, Some(8 << 20));
        for (key, value) in [
            ("max_tokens", "0"),
            ("temperature", "hot"),
            ("top_k", "-1"),
            ("chat", "maybe"),
            ("logprobs", "yes"),
            ("temperature", "-1"),
        ] {
            let e = generating(&map(&[(key, value)])).unwrap_err();
            assert!(e.message().contains(key), "{e}");
        }
        for (key, value) in [
            ("weight", "0"),
            ("weight", "NaN"),
            ("weight", "-1"),
            ("max_memory", "0"),
            ("max_memory", "99999999999999999"),
            ("kv_type", "int3"),
        ] {
            let e = placement(&map(&[(key, value)])).unwrap_err();
            assert!(e.message().contains(key), "{e}");
        }
        let e = check_keys(&map(&[("temprature", "1")]), &[&GENERATION_KEYS]).unwrap_err();
        assert!(e.message().contains("temprature") && e.advice().unwrap().contains("temperature"));
    }
}
