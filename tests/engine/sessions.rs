//! Conversations keep what they have read.

use crate::common::load;
use cogniware::Status;
use cogniware::llm::{Finish, Message, Prompt, Request, Sampling, Session};

fn request(prompt: Prompt, n: u32) -> Request {
    let sampling = Sampling { seed: Some(9), temperature: 1.0, ..Sampling::default() };
    let mut request = Request::new(prompt).with_max_tokens(n).with_sampling(sampling);
    request.ignore_eos = true;
    request
}

#[test]
fn a_turn_continues_and_reads_only_what_is_new() {
    let (_home, model) = load("models/llama2");
    let session = Session::new(&model).unwrap();
    let first = session.generate(request(Prompt::Tokens(vec![5; 50]), 20)).unwrap().wait().unwrap();
    assert_eq!(first.cached_tokens, 0);
    assert_eq!(session.tokens().len(), 70);
    session.append(&Prompt::Tokens(vec![8, 9])).unwrap();
    let all = session.tokens();
    let second = session.generate(request(Prompt::Tokens(vec![10]), 20)).unwrap().wait().unwrap();
    // The last token of the first turn was drawn but never read.
    assert_eq!((second.prompt_tokens, second.cached_tokens), (73, 69));
    let whole: Vec<u32> = all.into_iter().chain([10]).collect();
    let fresh = model.generate(request(Prompt::Tokens(whole), 20)).unwrap().wait().unwrap();
    assert_eq!(fresh.tokens, second.tokens);
    session.reset().unwrap();
    assert!(session.tokens().is_empty());
    let again = session.generate(request(Prompt::Tokens(vec![5; 50]), 20)).unwrap().wait().unwrap();
    assert_eq!((again.cached_tokens, again.tokens), (0, first.tokens));
}

#[test]
fn a_chat_renders_the_whole_and_reuses_the_beginning() {
    let (_home, model) = load("gguf/qwen2.f16.gguf");
    let session = Session::new(&model).unwrap();
    let turn = |text: &str| Prompt::Chat(vec![Message::new("user", text)]);
    let first = session.generate(request(turn("Hello"), 6)).unwrap().wait().unwrap();
    assert_eq!(session.messages().len(), 2);
    assert_eq!(session.messages()[1].content, first.text);
    let second = session.generate(request(turn("And now?"), 6)).unwrap().wait().unwrap();
    assert!(
        second.cached_tokens >= first.prompt_tokens - 1,
        "{} of {}",
        second.cached_tokens,
        first.prompt_tokens
    );
    let mut messages = session.messages();
    assert_eq!(messages.len(), 4);
    messages.pop();
    let fresh = model.generate(request(Prompt::Chat(messages), 6)).unwrap().wait().unwrap();
    assert_eq!(fresh.tokens, second.tokens);
}

#[test]
fn one_turn_at_a_time() {
    let (_home, model) = load("models/llama2");
    let session = Session::new(&model).unwrap();
    let running = session.generate(request(Prompt::Tokens(vec![5; 10]), 150)).unwrap();
    let error = session.generate(request(Prompt::Tokens(vec![6]), 1)).err().unwrap();
    assert_eq!(error.status(), Status::Busy);
    assert_eq!(session.reset().unwrap_err().status(), Status::Busy);
    running.cancel();
    let output = running.wait().unwrap();
    assert_eq!(output.finish, Finish::Cancelled);
    assert_eq!(session.tokens().len(), 10 + output.tokens.len());
    session.generate(request(Prompt::Tokens(vec![6]), 1)).unwrap().wait().unwrap();
}
