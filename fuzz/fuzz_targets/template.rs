//! Any text as a chat template.
#![no_main]

use cogniware::llm::template::{ChatTemplate, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(t) = ChatTemplate::new(text, "<s>", "</s>") else { return };
    let messages = [Message::new("system", "Be <brief>."), Message::new("user", "Hi\n"), Message::new("assistant", "")];
    let _ = t.render(&messages, true);
});
