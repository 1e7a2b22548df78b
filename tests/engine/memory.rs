//! Everything counts against the quota, and everything is given back.

use crate::common::{Home, MIB, fixture};
use cogniware::Status;
use cogniware::llm::{Finish, Generation, Model, ModelOptions, Prompt, Request, Sampling, Session};

fn request(start: u32, n: u32) -> Request {
    let prompt: Vec<u32> = (0..40).map(|i| (i * 7 + start) % 300).collect();
    let sampling = Sampling { seed: Some(u64::from(start)), temperature: 1.0, ..Sampling::default() };
    let mut request = Request::tokens(prompt).with_max_tokens(n).with_sampling(sampling);
    request.ignore_eos = true;
    request
}

#[test]
fn dropping_a_model_gives_everything_back() {
    let home = Home::new(256 * MIB);
    for _ in 0..3 {
        let model = home.load("models/llama2", &ModelOptions::default());
        let session = Session::new(&model).unwrap();
        session.generate(request(1, 10)).unwrap().wait().unwrap();
        let running = model.generate(request(2, 200)).unwrap();
        assert!(home.held() > 0);
        drop(session);
        drop(model);
        assert_eq!(running.wait().unwrap().finish, Finish::Cancelled);
        let usage = home.0.space().usage();
        assert_eq!((usage.held, usage.allocations, usage.regions, usage.shared), (0, 0, 0, 0));
    }
    assert!(home.0.space().leaks().is_empty());
}

#[test]
fn a_quota_too_small_is_refused_with_numbers_and_keeps_nothing() {
    let home = Home::new(256 * 1024);
    let error =
        Model::load(&home.0, &fixture("models/llama2"), &ModelOptions::default(), None).err().unwrap();
    assert_eq!(error.status(), Status::QuotaExceeded);
    assert!(error.to_string().contains(&(256 * 1024).to_string()), "{error}");
    assert_eq!(home.held(), 0);
}

#[test]
fn two_tenants_share_one_copy_and_are_charged_in_full() {
    let (a, b) = (Home::new(64 * MIB), Home::new(64 * MIB));
    let name = "gguf/qwen3-256.q6_k.gguf";
    let first = a.load(name, &ModelOptions::default());
    let second = b.load(name, &ModelOptions::default());
    assert!(!first.load_stats().shared && second.load_stats().shared);
    assert!(first.load_stats().bytes_per_second > 0.0);
    let (ua, ub) = (a.0.space().usage(), b.0.space().usage());
    assert_eq!(ua.shared, first.load_stats().image_bytes);
    assert_eq!(ua.shared, ub.shared);
    assert!(ua.physical + ua.shared >= ua.held - ua.shared, "shared bytes are no private ones: {ua:?}");
    let text = |m: &Model| m.generate(request(3, 30)).unwrap().wait().unwrap().tokens;
    let before = text(&first);
    drop(first);
    assert_eq!(text(&second), before, "the copy outlives the tenant that loaded it");
}

/// Options under which the cache is nearly all that a model holds beside its weights.
fn small() -> ModelOptions {
    ModelOptions { prefill_rows: Some(16), max_sequences: Some(6), ..ModelOptions::default() }
}

/// A tenant whose quota leaves room for `granules` of cache, with its model.
fn tight(name: &str, granules: u64) -> (Home, std::sync::Arc<Model>) {
    let roomy = Home::new(256 * MIB);
    let model = roomy.load(name, &small());
    let without = roomy.held() - model.stats().kv_bytes;
    drop(model);
    let home = Home::new(without + granules * roomy.0.device().granularity());
    let model = home.load(name, &small());
    (home, model)
}
