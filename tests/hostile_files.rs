//! Cut and altered files give a model or a clean error: no panic, and no memory out of proportion to the file.
//! The same entry points are fuzzed for longer by `scripts/fuzz`.

use cogniware::llm::file::ModelFile;
use cogniware::llm::template::{ChatTemplate, Message};
use cogniware::llm::tokenizer::Tokenizer;
use cogniware::{Result, Status};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

/// Counts what each thread holds and held at most.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get() + layout.size() as isize;
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `f` and fails when it held more than `limit` bytes at a time beyond what was held before.
fn bounded<T>(limit: usize, what: &str, f: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    PEAK.set(before);
    let out = f();
    let used = PEAK.get() - before;
    assert!(used <= limit as isize, "{what}: held {used} bytes, allowed {limit}");
    out
}

struct Random(u64);

impl Random {
    /// xorshift64*, Vigna 2016.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Numbers that checks get wrong.
    fn nasty(&mut self) -> u64 {
        match self.below(6) {
            0 => u64::MAX - self.next() % 64,
            1 => 1 << self.below(64),
            2 => (1u64 << self.below(64)).wrapping_sub(1),
            3 => self.next() % 512,
            4 => self.next() >> self.below(64),
            _ => i64::MAX as u64 - self.next() % 64,
        }
    }

    /// One to four changes within the first `reach` bytes.
    fn change(&mut self, bytes: &mut Vec<u8>, reach: usize) {
        for _ in 0..=self.below(4) {
            let at = self.below(reach.min(bytes.len()));
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 | 3 => {
                    let nasty = self.nasty().to_le_bytes();
                    let width = if self.below(2) == 0 { 4 } else { 8 };
                    for (b, n) in bytes[at..].iter_mut().zip(&nasty[..width]) {
                        *b = *n;
                    }
                }
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                    if bytes.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Everything that a program does with a model's files. Fails on an error of a kind that a bad file must not give.
fn use_model(opened: Result<ModelFile>) -> bool {
    let fine = |e: &cogniware::Error| {
        assert!(matches!(e.status(), Status::Format | Status::Unsupported), "{e}");
        assert!(!e.message().is_empty());
    };
    let model = match opened {
        Ok(m) => m,
        Err(e) => {
            fine(&e);
            return false;
        }
    };
    let mut sum = 0u64;
    for name in model.names() {
        match model.tensor(name) {
            Ok(t) => sum += t.data.iter().map(|&b| u64::from(b)).sum::<u64>(),
            Err(e) => fine(&e),
        }
    }
    std::hint::black_box(sum);
    match model.tokenizer() {
        Ok(Some(t)) => {
            for (add, parse) in [(true, true), (false, false)] {
                if let Ok(ids) = t.encode("Hello, wörld! <s> 123\n\n  🙂", add, parse) {
                    let _ = t.decode(&ids, true);
                    let mut stream = t.stream();
                    ids.iter().for_each(|&id| drop(stream.push(id)));
                    stream.finish();
                }
            }
        }
        Ok(None) => {}
        Err(e) => fine(&e),
    }
    match model.chat_template() {
        Ok(Some(t)) => drop(t.render(&[Message::new("user", "Hi")], true)),
        Ok(None) => {}
        Err(e) => fine(&e),
    }
    true
}

/// Bytes a reader may hold for a file of `size` bytes: the vocabulary's maps take several times its text.
fn allowance(size: usize) -> usize {
    (8 << 20) + 64 * size
}

#[test]
fn cut_gguf_files_are_errors() {
    let whole = fixture("gguf/qwen2.q4_0.gguf");
    assert!(use_model(ModelFile::from_gguf_bytes(whole.clone(), "x")));
    // The last tensor may be followed by padding.
    let last = whole.len() - 32;
    let mut len = 0;
    while len < last {
        let e = bounded(allowance(whole.len()), &format!("cut at {len}"), || {
            ModelFile::from_gguf_bytes(whole[..len].to_vec(), "x").err()
        });
        let e = e.unwrap_or_else(|| panic!("a file cut at {len} was opened"));
        assert!(matches!(e.status(), Status::Format), "cut at {len}: {e}");
        len += if len < 2048 { 1 } else { 97 };
    }
}

#[test]
fn altered_gguf_files_never_panic() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut opened, mut refused) = (0, 0);
    for name in ["gguf/qwen2.q4_0.gguf", "gguf/llama2.q4_0.gguf"] {
        let whole = fixture(name);
        for case in 0..1500 {
            let mut bytes = whole.clone();
            // The counts and keys at the front decide most; the tables behind them the rest.
            let reach = if case % 2 == 0 { 1500 } else { 40_000 };
            random.change(&mut bytes, reach);
            let limit = allowance(whole.len());
            let ok = bounded(limit, &format!("{name} case {case}"), || {
                use_model(ModelFile::from_gguf_bytes(bytes, "x"))
            });
            if ok { opened += 1 } else { refused += 1 }
        }
    }
    assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused: the changes miss what matters");
}

#[test]
fn altered_safetensors_never_panic() {
    let mut random = Random(0xfeed_beef_0bad_cafe);
    let config = fixture("models/llama2/config.json");
    let weights = fixture("models/llama2/model.safetensors");
    let limit = allowance(weights.len());
    for len in (0..weights.len()).step_by(997).chain(0..64) {
        let e = ModelFile::from_safetensors_bytes(&config, weights[..len].to_vec()).err().unwrap();
        assert_eq!(e.status(), Status::Format, "cut at {len}: {e}");
    }
    for case in 0..1000 {
        let (mut c, mut w) = (config.clone(), weights.clone());
        if case % 2 == 0 {
            let reach = c.len();
            random.change(&mut c, reach);
        } else {
            random.change(&mut w, 3000);
        }
        bounded(limit, &format!("case {case}"), || use_model(ModelFile::from_safetensors_bytes(&c, w)));
    }
}

#[test]
fn nasty_numbers_in_a_configuration_never_panic() {
    let mut random = Random(0x0dd_ba11);
    let weights = fixture("models/llama3/model.safetensors");
    for file in ["models/llama3/config.json", "models/llama3/config.legacy.json", "models/bert/config.json"] {
        let config: serde_json::Value = serde_json::from_slice(&fixture(file)).unwrap();
        for case in 0..300 {
            let mut changed = config.clone();
            let map = changed.as_object_mut().unwrap();
            let keys: Vec<String> = map.keys().cloned().collect();
            for _ in 0..=random.below(2) {
                let key = &keys[random.below(keys.len())];
                let value = match random.below(6) {
                    0 => serde_json::Value::Null,
                    1 => serde_json::json!(-1),
                    2 => serde_json::json!(1e308),
                    3 => serde_json::json!([]),
                    4 => serde_json::json!({}),
                    _ => serde_json::json!(random.nasty()),
                };
                map.insert(key.clone(), value);
            }
            let text = serde_json::to_vec(&changed).unwrap();
            bounded(allowance(weights.len()), &format!("{file} case {case}: {changed}"), || {
                use_model(ModelFile::from_safetensors_bytes(&text, weights.clone()))
            });
        }
    }
}

#[test]
fn altered_tokenizers_never_panic() {
    let mut random = Random(0x7357_7357);
    for family in ["qwen2", "spm_llama", "wordpiece"] {
        let whole = fixture(&format!("tokenizers/{family}/tokenizer.json"));
        for case in 0..150 {
            let mut bytes = whole.clone();
            let reach = if case % 3 == 0 { bytes.len() } else { 3000 };
            random.change(&mut bytes, reach);
            bounded(allowance(whole.len()), &format!("{family} case {case}"), || {
                if let Ok(t) = Tokenizer::from_json(&bytes, None)
                    && let Ok(ids) = t.encode("Hello, wörld! <s> 123", true, true)
                {
                    let _ = t.decode(&ids, false);
                }
            });
        }
    }
}

#[test]
fn altered_templates_never_panic() {
    let mut random = Random(0x7e3a_11ed);
    let fixture: serde_json::Value = serde_json::from_slice(&fixture("chat_templates.json")).unwrap();
    for t in fixture.as_array().unwrap() {
        let source = t["template"].as_str().unwrap();
        for _ in 0..200 {
            let mut bytes = source.as_bytes().to_vec();
            let reach = bytes.len();
            random.change(&mut bytes, reach);
            let source = String::from_utf8_lossy(&bytes);
            if let Ok(t) = ChatTemplate::new(&source, "<s>", "</s>") {
                let _ = t.render(&[Message::new("user", "Hi"), Message::new("assistant", "Yes")], true);
            }
        }
    }
}
