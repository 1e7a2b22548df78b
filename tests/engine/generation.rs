//! Streaming, stopping, cancelling, failing callbacks.

use crate::common::{load, load_with};
use cogniware::llm::{Finish, Generation, Message, Model, ModelOptions, Request, Sampling, Stage};
use cogniware::{Error, Status};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

const NAME: &str = "gguf/smollm.f32.gguf";

fn request(n: u32) -> Request {
    let sampling = Sampling { seed: Some(5), temperature: 1.0, ..Sampling::default() };
    let mut request = Request::text("Four models share").with_max_tokens(n).with_sampling(sampling);
    request.ignore_eos = true;
    request
}

#[test]
fn pieces_callback_and_output_agree() {
    let (_home, model) = load(NAME);
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let done = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&done);
    let mut request = request(60).with_on_token(move |piece| {
        heard.lock().unwrap().push_str(&piece.text);
        Ok(true)
    });
    request.on_done = Some(Box::new(move |output| {
        counted.fetch_add(output.tokens.len() as u32, Ordering::SeqCst);
    }));
    let mut generation = model.generate(request).unwrap();
    let mut text = String::new();
    let mut tokens = Vec::new();
    for piece in generation.by_ref() {
        text.push_str(&piece.text);
        tokens.extend(piece.token);
    }
    let output = generation.wait().unwrap();
    assert_eq!(generation.stage(), Stage::Done);
    assert_eq!((output.finish, output.tokens.len()), (Finish::Length, 60));
    assert_eq!(output.tokens, tokens);
    assert_eq!(output.text, text);
    assert_eq!(output.text, *told.lock().unwrap());
    assert_eq!(output.text, model.tokenizer().unwrap().decode(&output.tokens, true).unwrap());
    assert_eq!(done.load(Ordering::SeqCst), 60);
    assert_eq!(output.seed, 5);
    let t = output.timings;
    assert!(
        t.first_token >= t.queue && t.total >= t.first_token + t.decode && t.tokens_per_second > 0.0,
        "{t:?}"
    );
}

#[test]
fn a_stop_string_across_tokens_ends_the_text_before_it() {
    let (_home, model) = load(NAME);
    let whole = model.generate(request(60)).unwrap().wait().unwrap();
    // A string of the answer that no single token holds.
    let chars: Vec<(usize, char)> = whole.text.char_indices().collect();
    let (from, to) = (chars[chars.len() / 2].0, chars[chars.len() / 2 + 6].0);
    let stop = &whole.text[from..to];
    let at = whole.text.find(stop).unwrap();
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let request = request(60).with_stop(["never in it \u{1}", stop]).with_on_token(move |piece| {
        heard.lock().unwrap().push_str(&piece.text);
        Ok(true)
    });
    let output = model.generate(request).unwrap().wait().unwrap();
    assert_eq!(output.finish, Finish::StopString);
    assert_eq!(output.text, whole.text[..at]);
    assert_eq!(*told.lock().unwrap(), whole.text[..at]);
    assert!(output.tokens.len() < 60 && whole.tokens.starts_with(&output.tokens));
}

#[test]
fn text_that_might_have_become_a_stop_string_is_not_lost() {
    let (_home, model) = load(NAME);
    let whole = model.generate(request(30)).unwrap().wait().unwrap();
    let mut stop: String = whole.text.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    stop.push('\u{1}');
    let output = model.generate(request(30).with_stop([stop])).unwrap().wait().unwrap();
    assert_eq!((output.finish, output.text), (Finish::Length, whole.text));
}

#[test]
fn the_end_token_ends_the_answer() {
    let (_home, model) = load(NAME);
    let end = model.tokenizer().unwrap().eos().unwrap();
    let ends = |n: u32| {
        let sampling = Sampling { logit_bias: vec![(end, 1e6)], ..Sampling::greedy() };
        Request::text("a").with_max_tokens(n).with_sampling(sampling)
    };
    let output = model.generate(ends(9)).unwrap().wait().unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Stop, 0));
    let mut ignoring = ends(9);
    ignoring.ignore_eos = true;
    let output = model.generate(ignoring).unwrap().wait().unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Length, 9));
}

#[test]
fn the_answer_ends_with_the_context() {
    let options = ModelOptions { context: Some(50), ..ModelOptions::default() };
    let (_home, model) = load_with(NAME, &options);
    let mut request = request(1000);
    request.max_tokens = None;
    let output = model.generate(request).unwrap().wait().unwrap();
    assert_eq!(output.finish, Finish::Length);
    assert_eq!(output.prompt_tokens as usize + output.tokens.len(), 50);
}

#[test]
fn a_callback_that_returns_false_cancels_at_that_token() {
    let (_home, model) = load(NAME);
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let request = request(60).with_on_token(move |piece| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(piece.count < 7)
    });
    let output = model.generate(request).unwrap().wait().unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Cancelled, 7));
    assert_eq!(calls.load(Ordering::SeqCst), 7);
}

#[test]
fn a_callback_that_fails_or_panics_ends_its_own_request_only() {
    let (_home, model) = load(NAME);
    let alone = model.generate(request(40)).unwrap().wait().unwrap();
    let good = model.generate(request(40)).unwrap();
    let failing = model
        .generate(request(40).with_on_token(|_| Err(Error::new(Status::Callback, "disk full"))))
        .unwrap();
    let panicking = model
        .generate(
            request(40).with_on_token(|piece| if piece.count > 3 { panic!("oh dear") } else { Ok(true) }),
        )
        .unwrap();
    assert_eq!(good.wait().unwrap().text, alone.text);
    assert!(failing.wait().unwrap_err().to_string().contains("disk full"));
    let error = panicking.wait().unwrap_err();
    assert!(error.to_string().contains("oh dear"), "{error}");
    let outcome = panicking.outcome().unwrap();
    assert_eq!((outcome.finish, outcome.tokens.len()), (Finish::Error, 4));
}

/// Starts a generation whose first token waits until the sender is used, so that others are surely queued.
fn held(model: &Model) -> (Generation, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let generation = model
        .generate(request(5).with_on_token(move |piece| {
            if piece.count == 1 {
                let _ = began.send(());
                let _ = wait.recv();
            }
            Ok(true)
        }))
        .unwrap();
    begun.recv().unwrap();
    (generation, go)
}

#[test]
fn cancelling_works_while_queued_and_in_prefill() {
    let options = ModelOptions {
        max_sequences: Some(2),
        prefill_rows: Some(16),
        mixed_rows: Some(4),
        ..Default::default()
    };
    let (_home, model) = load_with(NAME, &options);
    let (first, go) = held(&model);
    let long: Vec<u32> = (0..200).map(|i| i % 250).collect();
    let reading = model.generate(Request::tokens(long)).unwrap();
    let queued = model.generate(request(5)).unwrap();
    assert_eq!(queued.stage(), Stage::Queued);
    queued.cancel();
    go.send(()).unwrap();
    // The engine reads the long prompt four rows a step; it is cancelled from the first's callback thread's outcome.
    first.wait().unwrap();
    reading.cancel();
    let output = reading.wait().unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Cancelled, 0));
    assert_eq!(output.timings.first_token.as_nanos(), 0);
    let output = queued.wait().unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Cancelled, 0));
    assert_eq!(model.generate(request(5)).unwrap().wait().unwrap().tokens.len(), 5);
}

#[test]
fn dropping_a_handle_cancels_and_detaching_does_not() {
    let (_home, model) = load(NAME);
    let (tell, told) = mpsc::channel();
    let with_done = |n| {
        let tell = tell.clone();
        let mut request = request(n);
        request.on_done = Some(Box::new(move |output| tell.send(output.finish).unwrap()));
        request
    };
    drop(model.generate(with_done(200)).unwrap());
    assert_eq!(told.recv().unwrap(), Finish::Cancelled);
    model.generate(with_done(3)).unwrap().detach();
    assert_eq!(told.recv().unwrap(), Finish::Length);
}

#[test]
fn waiting_inside_a_callback_is_refused() {
    let (_home, model) = load(NAME);
    let inner = Arc::clone(&model);
    let (tell, told) = mpsc::channel();
    let request = request(2).with_on_token(move |_| {
        let generation = inner.generate(request(1)).unwrap();
        tell.send(generation.wait().map(|_| ()).map_err(|e| e.status())).unwrap();
        Ok(true)
    });
    model.generate(request).unwrap().wait().unwrap();
    assert_eq!(told.recv().unwrap(), Err(Status::Busy));
}

#[test]
fn closing_cancels_what_runs_and_refuses_what_comes() {
    let (_home, model) = load(NAME);
    let running = model.generate(request(200)).unwrap();
    model.close();
    assert_eq!(running.wait().unwrap().finish, Finish::Cancelled);
    assert_eq!(model.generate(request(1)).err().unwrap().status(), Status::NotInitialized);
}

#[test]
fn messages_go_through_the_template() {
    let (_home, model) = load("gguf/qwen2.f16.gguf");
    assert!(model.chat_template().is_some());
    let messages = [Message::new("user", "Hello")];
    let rendered = model.chat_template().unwrap().render(&messages, true).unwrap();
    let ids = model.tokenizer().unwrap().encode(&rendered, false, true).unwrap();
    let how = Sampling { seed: Some(1), ..Sampling::default() };
    let chat = Request::chat(messages).with_max_tokens(8).with_sampling(how.clone());
    let chat = model.generate(chat).unwrap().wait().unwrap();
    let plain = Request::tokens(ids).with_max_tokens(8).with_sampling(how);
    assert_eq!(chat.tokens, model.generate(plain).unwrap().wait().unwrap().tokens);
}
