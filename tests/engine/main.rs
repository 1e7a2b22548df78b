//! The engine on the CPU device, compared with what transformers computed (`tests/fixtures`).

mod batching;
mod bitnet;
mod common;
mod embeddings;
mod generation;
mod logits;
mod memory;
mod minilm;
mod nodes;
mod sessions;
