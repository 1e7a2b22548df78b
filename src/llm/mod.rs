//! Language models: files, tokenizers and templates; loading, sessions, generation and embeddings.

pub mod config;
pub mod file;
pub mod template;
pub mod tokenizer;

mod embed;
mod engine;
mod library;
mod model;
mod net;
mod options;
mod request;
mod sampling;
mod session;

pub use config::{Architecture, ModelConfig, Pooling};
pub use embed::EmbedOptions;
pub use engine::{Canceller, Generation, ModelStats, Stage};
pub use library::{DEFAULT_ALIASES, MODEL_VARIABLE, model_path};
pub use model::{LoadStats, Model};
pub use net::weights::LoadProgress;
pub use options::ModelOptions;
pub use request::{Finish, OnDone, OnToken, Output, Piece, Prompt, Request, Timings, TokenLogprobs};
pub use sampling::Sampling;
pub use session::Session;
pub use template::Message;
