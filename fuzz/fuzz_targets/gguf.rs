//! Any bytes as a GGUF file: open, read every tensor, build the tokenizer and the template and use them.
#![no_main]

use cogniware::llm::file::ModelFile;
use cogniware::llm::template::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = ModelFile::from_gguf_bytes(data.to_vec(), "fuzz") else { return };
    for name in model.names() {
        if let Ok(t) = model.tensor(name) {
            let sum: u64 = t.data.iter().map(|&b| u64::from(b)).sum();
            std::hint::black_box(sum);
        }
    }
    if let Ok(Some(t)) = model.tokenizer()
        && let Ok(ids) = t.encode("Hello, wörld <s>\n 12", true, true)
    {
        let _ = t.decode(&ids, false);
        let mut stream = t.stream();
        ids.iter().for_each(|&id| drop(stream.push(id)));
    }
    if let Ok(Some(t)) = model.chat_template() {
        let _ = t.render(&[Message::new("user", "Hi")], true);
    }
});
