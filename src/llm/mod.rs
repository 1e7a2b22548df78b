//! Language models: reading their files, tokens, chat templates, and running them.

pub mod config;
pub mod file;
pub mod template;
pub mod tokenizer;
