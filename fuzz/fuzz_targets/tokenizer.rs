//! Any text as `tokenizer.json`.
#![no_main]

use cogniware::llm::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;
use std::sync::Once;

static QUIET: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    // The tokenizers crate panics on some texts, which the library catches and turns into errors: only a panic that
    // gets out of it is a finding, not one that the hook sees.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let Ok(t) = Tokenizer::from_json(data, None) else { return };
    for (add, parse) in [(true, true), (false, false)] {
        if let Ok(ids) = t.encode("Hello, wörld <s>\n 12 \u{2581}", add, parse) {
            let _ = t.decode(&ids, true);
            let mut stream = t.stream();
            ids.iter().for_each(|&id| drop(stream.push(id)));
            stream.finish();
        }
    }
});
