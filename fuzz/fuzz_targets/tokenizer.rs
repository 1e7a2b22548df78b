//! Any text as `tokenizer.json`.
#![no_main]

use cogniware::llm::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
