//! Everything counts against the quota, and everything is given back.

use crate::common::{Expected, Home, MIB, fixture};
use cogniware::Status;
use cogniware::device;
use cogniware::llm::{
    Finish, Generation, LoadProgress, Model, ModelOptions, Prompt, Request, Sampling, Session,
};
use cogniware::quant::DType;

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

/// A file of this test's own: others load the fixtures at the same time, and would share its weights.
fn own_copy(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::copy(fixture(name), &path).unwrap();
    (folder, path)
}

#[test]
fn two_tenants_share_one_copy_and_are_charged_in_full() {
    let (a, b) = (Home::new(64 * MIB), Home::new(64 * MIB));
    let (_folder, path) = own_copy("gguf/qwen3-256.q6_k.gguf");
    let load = |home: &Home| Model::load(&home.0, &path, &ModelOptions::default(), None).unwrap();
    let (first, second) = (load(&a), load(&b));
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

/// llama2 with a context of 4096: 2 MiB hold 2048 tokens of its cache.
fn long_llama() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("models/llama2")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let long = text.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 4096");
    assert_ne!(text, long);
    std::fs::write(config, long).unwrap();
    folder
}

/// The model in a tenant whose quota leaves room for `granules` of cache beside weights and working memory.
fn tight(granules: u64) -> (Home, std::sync::Arc<Model>, tempfile::TempDir) {
    let folder = long_llama();
    let options = ModelOptions { kv: Some(DType::F32), ..ModelOptions::default() };
    let load = |home: &Home| Model::load(&home.0, folder.path(), &options, None).unwrap();
    let roomy = Home::new(256 * MIB);
    let model = load(&roomy);
    // What it holds while idle is one granule of cache and all the rest.
    let beside = roomy.held() - model.stats().kv_bytes.max(roomy.0.device().granularity());
    model.close();
    let home = Home::new(beside + granules * roomy.0.device().granularity());
    let model = load(&home);
    (home, model, folder)
}

#[test]
fn one_that_outgrows_the_quota_ends_with_numbers_and_others_go_on() {
    let (home, model, _folder) = tight(1);
    let alone = model.generate(request(1, 150)).unwrap().wait().unwrap();
    let long: Vec<u32> = (0..1900).map(|i| (i * 11) % 300).collect();
    let mut growing = request(2, 400);
    growing.prompt = Prompt::Tokens(long);
    let short = model.generate(request(1, 150)).unwrap();
    let growing = model.generate(growing).unwrap();
    assert_eq!(short.wait().unwrap().tokens, alone.tokens);
    let error = growing.wait().unwrap_err();
    assert_eq!(error.status(), Status::QuotaExceeded);
    assert!(error.to_string().contains(&home.0.account().limit().to_string()), "{error}");
    let outcome = growing.outcome().unwrap();
    // The last token was drawn from a full cache: 2048 tokens, and that one.
    assert_eq!((outcome.finish, outcome.tokens.len()), (Finish::Error, 149));
    assert_eq!(model.generate(request(1, 150)).unwrap().wait().unwrap().tokens, alone.tokens);
}

#[test]
fn sequences_that_do_not_fit_together_take_turns_with_the_same_answers() {
    let (_home, model, _folder) = tight(1);
    let alone: Vec<_> =
        (0..10).map(|p| model.generate(request(p, 260)).unwrap().wait().unwrap().tokens).collect();
    let running: Vec<Generation> = (0..10).map(|p| model.generate(request(p, 260)).unwrap()).collect();
    for (running, alone) in running.iter().zip(&alone) {
        assert_eq!(running.wait().unwrap().tokens, *alone);
    }
    assert!(model.stats().preemptions > 0, "{:?}", model.stats());
}

#[test]
fn idle_sessions_give_their_pages_to_who_needs_them() {
    let (_home, model, _folder) = tight(1);
    let prompt = |salt: u32| Prompt::Tokens((0..900).map(|i| (i * 3 + salt) % 300).collect());
    let turn = |session: &Session, prompt: Prompt| {
        let mut request = request(1, 5);
        request.prompt = prompt;
        session.generate(request).unwrap().wait().unwrap()
    };
    let sessions: Vec<Session> = (0..3).map(|_| Session::new(&model).unwrap()).collect();
    for (salt, session) in sessions.iter().enumerate() {
        turn(session, prompt(salt as u32));
    }
    // The third took the first's pages; the second still has its own.
    let kept = turn(&sessions[1], Prompt::Tokens(vec![7]));
    assert_eq!(kept.cached_tokens, 904);
    let evicted = turn(&sessions[0], Prompt::Tokens(vec![7]));
    assert_eq!(evicted.cached_tokens, 0);
    let mut fresh = request(1, 5);
    let tokens = sessions[0].tokens();
    fresh.prompt = Prompt::Tokens(tokens[..tokens.len() - 5].to_vec());
    assert_eq!(model.generate(fresh).unwrap().wait().unwrap().tokens, evicted.tokens);
}

#[test]
fn the_cache_shrinks_when_idle() {
    let (_home, model, _folder) = tight(3);
    let running: Vec<Generation> = (0..10).map(|p| model.generate(request(p, 300)).unwrap()).collect();
    running.iter().for_each(|r| assert_eq!(r.wait().unwrap().finish, Finish::Length));
    assert!(model.stats().kv_bytes > 2 * MIB, "{:?}", model.stats());
    let patience = std::time::Instant::now();
    while model.stats().kv_bytes > 0 {
        assert!(patience.elapsed().as_secs() < 20, "{:?}", model.stats());
        std::thread::yield_now();
    }
}

#[test]
fn loading_can_be_cancelled_and_reports_its_progress() {
    let home = Home::new(256 * MIB);
    let (_folder, path) = own_copy("gguf/llama3.q8_0.gguf");
    let load = |progress: &mut dyn FnMut(LoadProgress) -> bool| {
        Model::load(&home.0, &path, &ModelOptions::default(), Some(progress))
    };
    let error = load(&mut |_| false).err().unwrap();
    assert_eq!(error.status(), Status::Cancelled);
    assert_eq!(home.held(), 0);
    let mut seen = Vec::new();
    let model = load(&mut |progress| {
        seen.push(progress);
        true
    })
    .unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.done), (last.total, model.load_stats().file_bytes));
    assert!(seen.windows(2).all(|w| w[0].done < w[1].done));
}

/// Requests from four threads, some cancelled at odd moments, sessions coming and going, in a quota that holds a few of
/// them: what comes is always the beginning of what comes alone, and all of it unless it was cancelled.
#[test]
fn a_crowd_in_a_small_quota_changes_nobodys_answer() {
    const KINDS: u32 = 8;
    let (home, model, _folder) = tight(1);
    let alone: Vec<_> =
        (0..KINDS).map(|p| model.generate(request(p, 220)).unwrap().wait().unwrap().tokens).collect();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (model, alone) = (&model, &alone);
            scope.spawn(move || {
                for round in 0..8u32 {
                    let kind = (thread * 3 + round * 5) % KINDS;
                    let session = Session::new(model).unwrap();
                    let mut generation = if round % 3 == 0 {
                        session.generate(request(kind, 220)).unwrap()
                    } else {
                        model.generate(request(kind, 220)).unwrap()
                    };
                    if round % 2 == 1 {
                        let pieces = generation.by_ref().take((thread * 37 + round * 11) as usize);
                        pieces.for_each(drop);
                        generation.cancel();
                    }
                    let output = generation.wait().unwrap();
                    let whole = &alone[kind as usize];
                    assert!(whole.starts_with(&output.tokens), "kind {kind}");
                    match output.finish {
                        Finish::Length => assert_eq!(output.tokens.len(), whole.len()),
                        finish => assert_eq!((finish, round % 2), (Finish::Cancelled, 1)),
                    }
                }
            });
        }
    });
    model.close();
    drop(model);
    assert_eq!(home.held(), 0);
}

#[test]
fn tenants_live_on_every_device_at_once() {
    let models: Vec<_> = device::open_all()
        .iter()
        .map(|device| {
            let home = Home::on(device, 256 * MIB);
            let model = home.load("gguf/smollm.f32.gguf", &ModelOptions::default());
            (home, model)
        })
        .collect();
    let ids = Expected::of("gguf/smollm.f32.gguf").ids("input_ids");
    let request = || Request::tokens(ids.clone()).with_max_tokens(8).with_sampling(Sampling::greedy());
    let running: Vec<_> = models.iter().map(|(_, model)| model.generate(request()).unwrap()).collect();
    let texts: Vec<_> = running.into_iter().map(|g| g.wait().unwrap().tokens).collect();
    assert!(texts.iter().all(|t| *t == texts[0]), "{texts:?}");
}
