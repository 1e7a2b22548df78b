//! Logits and greedy continuations against transformers.

use crate::common::{Expected, Home, MIB, distance, load, load_with, on_cpu};
use cogniware::llm::{ModelOptions, Request, Sampling};
use cogniware::quant::DType;

fn greedy(model: &cogniware::llm::Model, ids: &[u32], n: u32) -> Vec<u32> {
    let mut request = Request::tokens(ids).with_max_tokens(n).with_sampling(Sampling::greedy());
    request.ignore_eos = false;
    model.generate(request).unwrap().wait().unwrap().tokens
}

/// How far f32 activations may be from transformers'.
fn close() -> f32 {
    if on_cpu() { 1e-4 } else { 1e-3 }
}

/// Logits within `bound`, and the greedy continuation equal.
fn agrees(name: &str, bound: f32) {
    let options = ModelOptions { kv: Some(DType::F32), ..ModelOptions::default() };
    let (_home, model) = load_with(name, &options);
    let expected = Expected::of(name);
    let ids = expected.ids("input_ids");
    let logits = model.logits(&ids).unwrap();
    let off = distance(&logits, &expected.floats("logits"));
    eprintln!("{name}: logits differ by up to {off:e}");
    assert!(off <= bound, "{name}: logits differ by {off}, more than {bound}");
    let want = expected.ids("greedy_ids");
    let got = greedy(&model, &ids, want.len() as u32);
    // A continuation that reaches an end token stops there; transformers was told not to.
    assert_eq!(got, want[..got.len()], "{name}");
    if got.len() < want.len() {
        assert!(model.tokenizer().unwrap().is_end(want[got.len()]), "{name} ended early");
    }
}

#[test]
fn folders_agree_with_transformers() {
    for name in ["llama2", "llama3", "llama-linear-legacy", "mistral", "qwen2", "qwen3", "smollm"] {
        agrees(&format!("models/{name}"), close());
    }
}

#[test]
fn unquantized_gguf_agrees_with_transformers() {
    for name in ["smollm.f32", "llama2.bf16", "qwen2.f16"] {
        agrees(&format!("gguf/{name}.gguf"), close());
    }
}

/// Quantized matrices are multiplied with activations rounded to 8 bits in blocks; logits have a standard deviation
/// of about 2. The bounds are about one and a half times what that rounding does here (0.10 to 0.26), which is what it does in
/// llama.cpp as well.
#[test]
fn quantized_gguf_agrees_within_activation_rounding() {
    for name in ["llama2.q8_0", "llama3.q8_0", "llama-linear-legacy.q8_0", "qwen3.q8_0"] {
        agrees(&format!("gguf/{name}.gguf"), 0.3);
    }
    for name in ["llama2.q4_0", "qwen2.q4_0", "qwen3-256.q6_k"] {
        agrees(&format!("gguf/{name}.gguf"), 0.25);
    }
    agrees("gguf/llama256.q4_k.gguf", 0.4);
}

#[test]
fn long_inputs_cross_pages_and_chunks() {
    for name in ["llama3", "mistral", "qwen3"] {
        let name = format!("models/{name}");
        let options =
            ModelOptions { kv: Some(DType::F32), prefill_rows: Some(48), ..ModelOptions::default() };
        let home = Home::new(256 * MIB);
        let model = home.load(&name, &options);
        let expected = Expected::of(&name);
        let ids = expected.ids("long_ids");
        let want = expected.floats("long_logits");
        let logits = model.logits(&ids).unwrap();
        let off = distance(&logits[logits.len() - want.len()..], &want);
        assert!(off <= close(), "{name}: {off}");
    }
}

#[test]
fn a_half_precision_cache_stays_close() {
    let name = "models/llama3";
    let options = ModelOptions { kv: Some(DType::F16), ..ModelOptions::default() };
    let (_home, model) = load_with(name, &options);
    let expected = Expected::of(name);
    let off = distance(&model.logits(&expected.ids("input_ids")).unwrap(), &expected.floats("logits"));
    assert!(off > 0.0 && off <= 1e-2, "{off}");
}

#[test]
fn wrong_input_is_refused_by_name() {
    let (_home, model) = load("models/llama2");
    let error = model.logits(&[1, 100_000]).unwrap_err();
    assert!(error.to_string().contains("100000"), "{error}");
    assert!(model.logits(&[]).is_err());
    assert!(model.generate(Request::tokens(Vec::new())).is_err());
    let long = vec![1; model.context() as usize];
    let error = model.generate(Request::tokens(long)).err().unwrap();
    assert!(error.to_string().contains("context"), "{error}");
    let error = model.generate(Request::tokens([1]).with_max_tokens(0)).err().unwrap();
    assert!(error.to_string().contains("max_tokens"), "{error}");
    let sampling = Sampling { top_p: 1.5, ..Sampling::default() };
    let error = model.generate(Request::tokens([1]).with_sampling(sampling)).err().unwrap();
    assert!(error.to_string().contains("top_p"), "{error}");
}
