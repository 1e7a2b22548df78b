use super::made::Made;
use super::*;
use crate::Status;
use crate::llm::config::Architecture;
use crate::ops::RopeStyle;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> ModelFile {
    ModelFile::open(&fixture(name)).unwrap()
}

/// The pairs of the fixtures that hold the same weights as a folder and as a file.
const PAIRS: [(&str, &str); 11] = [
    ("llama2", "llama2.bf16"),
    ("llama2", "llama2.q8_0"),
    ("llama2", "llama2.q4_0"),
    ("llama3", "llama3.q8_0"),
    ("llama-linear-legacy", "llama-linear-legacy.q8_0"),
    ("qwen2", "qwen2.f16"),
    ("qwen2", "qwen2.q4_0"),
    ("qwen3", "qwen3.q8_0"),
    ("smollm", "smollm.f32"),
    ("", "llama256.q4_k"),
    ("", "qwen3-256.q6_k"),
];

#[test]
fn folders_and_files_give_the_same_configuration() {
    for (folder, file) in PAIRS {
        let b = open(&format!("gguf/{file}.gguf"));
        assert!(b.tokenizer().unwrap().is_some() && b.chat_template().unwrap().is_some(), "{file}");
        if folder.is_empty() {
            continue;
        }
        let a = open(&format!("models/{folder}"));
        let (mut ca, mut cb) = (a.config().clone(), b.config().clone());
        let (ra, rb) = (ca.rope.take().unwrap(), cb.rope.take().unwrap());
        ca.name.clear();
        cb.name.clear();
        assert_eq!(ca, cb, "{file}");
        let llama = ca.architecture == Architecture::Llama;
        assert_eq!(ra.style, RopeStyle::Half);
        assert_eq!(rb.style, if llama { RopeStyle::Interleaved } else { RopeStyle::Half });
        assert_eq!(ra.magnitude, rb.magnitude);
        assert_eq!(ra.frequencies.len(), (ca.head_dim / 2) as usize);
        for (x, y) in ra.frequencies.iter().zip(&rb.frequencies) {
            assert!((x - y).abs() <= x * 1e-6, "{file}: {x} {y}");
        }
        assert_eq!(
            a.parameters(),
            b.parameters() - u64::from(b.has("rope_freqs.weight")) * ra.frequencies.len() as u64
        );
    }
}

#[test]
fn every_tiny_model_is_what_its_maker_says() {
    let c = open("models/llama3").config().clone();
    assert_eq!((c.architecture, c.kv_heads, c.tied), (Architecture::Llama, 2, false));
    let c = open("models/mistral").config().clone();
    assert_eq!(c.windows, vec![Some(12); c.layers as usize]);
    let c = open("models/qwen2").config().clone();
    assert!(c.qkv_bias && !c.output_bias && !c.qk_norm);
    assert!(c.windows.iter().all(Option::is_none));
    let c = open("models/qwen3").config().clone();
    assert!(c.qk_norm && !c.qkv_bias);
    assert_eq!((c.head_dim, c.dim / c.heads), (24, 16));
    let c = open("models/smollm").config().clone();
    assert!(c.tied);
    assert_eq!((c.heads, c.kv_heads, c.dim), (3, 1, 48));
    let bert = open("models/bert");
    let c = bert.config();
    assert!(c.architecture.is_encoder() && c.rope.is_none() && c.qkv_bias && c.output_bias && c.ffn_bias);
    assert_eq!(bert.tensor("token_types.weight").unwrap().shape, [u64::from(c.type_vocab), 64]);
    assert!(bert.chat_template().unwrap().is_none());
}

#[test]
fn older_configurations_mean_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("models/llama3")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    std::fs::copy(dir.path().join("config.legacy.json"), dir.path().join("config.json")).unwrap();
    let older = ModelFile::open(dir.path()).unwrap();
    let mut config = older.config().clone();
    config.name = "llama3".into();
    assert_eq!(&config, open("models/llama3").config());
    assert_ne!(older.key(), open("models/llama3").key());
    assert_eq!(open("models/llama3").key(), open("models/llama3").key());
}

/// The row of a Hugging Face Q or K matrix that a GGUF file of architecture llama holds as row `r`.
fn unpermuted(r: usize, head_dim: usize) -> usize {
    let (head, i) = (r / head_dim, r % head_dim);
    head * head_dim + (i % 2) * (head_dim / 2) + i / 2
}

#[test]
fn folders_and_files_hold_the_same_weights() {
    for (folder, file) in [("llama2", "llama2.bf16"), ("qwen2", "qwen2.f16"), ("smollm", "smollm.f32")] {
        let (a, b) = (open(&format!("models/{folder}")), open(&format!("gguf/{file}.gguf")));
        let c = a.config();
        let mut compared = 0;
        for name in a.names() {
            let (x, y) = (a.tensor(name).unwrap(), b.tensor(name).unwrap());
            assert_eq!(x.shape, y.shape, "{file} {name}");
            let cols = *x.shape.last().unwrap() as usize;
            let (left, right) = (x.to_f32().unwrap(), y.to_f32().unwrap());
            let turned = c.architecture == Architecture::Llama
                && (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight"));
            for (r, row) in right.chunks(cols).enumerate() {
                let from = if turned { unpermuted(r, c.head_dim as usize) } else { r };
                for (p, q) in left[from * cols..(from + 1) * cols].iter().zip(row) {
                    let p = match y.dtype {
                        DType::BF16 => half::bf16::from_f32(*p).to_f32(),
                        DType::F16 => half::f16::from_f32(*p).to_f32(),
                        _ => *p,
                    };
                    assert_eq!(p, *q, "{file} {name} row {r}");
                }
            }
            compared += 1;
        }
        assert_eq!(compared, b.names().count(), "{file}");
        assert!(b.bytes() > 0 && b.has("token_embd.weight") && !b.has("nothing"));
        assert_eq!(b.tensor("nothing").unwrap_err().status(), Status::NotFound);
    }
}

#[test]
fn sentence_transformers_folders_say_how_to_pool() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("models/bert")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "modules.json",
        r#"[{"idx":0,"path":"","type":"sentence_transformers.models.Transformer"},
            {"idx":1,"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
            {"idx":2,"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#,
    );
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    write("1_Pooling/config.json", r#"{"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}"#);
    let m = ModelFile::open(dir.path()).unwrap();
    assert_eq!(m.config().pooling, Some(crate::llm::config::Pooling::Mean));
    assert!(m.config().normalize);
    write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens":true}"#);
    assert_eq!(ModelFile::open(dir.path()).err().unwrap().status(), Status::Unsupported);
    write("modules.json", r#"[{"path":"../x","type":"a.Pooling"}]"#);
    assert_eq!(ModelFile::open(dir.path()).err().unwrap().status(), Status::Format);
}

#[test]
fn errors_name_what_is_wrong() {
    let config = std::fs::read_to_string(fixture("models/llama2/config.json")).unwrap();
    let weights = std::fs::read(fixture("models/llama2/model.safetensors")).unwrap();
    let with = |from: &str, to: &str| {
        let changed = config.replace(from, to);
        assert_ne!(changed, config, "{from}");
        ModelFile::from_safetensors_bytes(changed.as_bytes(), weights.clone()).err().unwrap().to_string()
    };
    assert!(ModelFile::from_safetensors_bytes(config.as_bytes(), weights.clone()).is_ok());
    assert!(with("LlamaForCausalLM", "GPT9ForCausalLM").contains("GPT9ForCausalLM"));
    assert!(with("\"hidden_size\": 64", "\"hidden_size\": 128").contains("token_embd.weight"));
    assert!(with("\"hidden_size\": 64", "\"hidden_size\": -1").contains("hidden_size"));
    assert!(with("\"hidden_size\": 64", "\"hidden_size\": 1e30").contains("hidden_size"));

    let missing = ModelFile::open(&fixture("nothing.gguf")).err().unwrap();
    assert_eq!(missing.status(), Status::NotFound);
    let empty = tempfile::tempdir().unwrap();
    let e = ModelFile::open(empty.path()).err().unwrap();
    assert!(e.to_string().contains("config.json"), "{e}");
    let e = ModelFile::open(Path::new("/dev/null")).err().unwrap();
    assert_eq!(e.status(), Status::InvalidArgument);
    let e = ModelFile::from_gguf_bytes(b"GGML and so on".to_vec(), "x").err().unwrap();
    assert_eq!(e.status(), Status::Format);
    let e = ModelFile::from_gguf_bytes(b"GGUF\0\0\0\x03and so on".to_vec(), "x").err().unwrap();
    assert!(e.to_string().contains("big endian"), "{e}");
}

/// A llama file of one layer with the given keys beside the needed ones.
fn tiny_llama(more: impl FnOnce(Made) -> Made) -> Result<ModelFile> {
    let made = Made::default()
        .text("general.architecture", "llama")
        .uint("llama.block_count", 1)
        .uint("llama.embedding_length", 8)
        .uint("llama.attention.head_count", 2)
        .uint("llama.feed_forward_length", 4)
        .uint("llama.context_length", 64)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .tensor("token_embd.weight", &[3, 8], vec![0.5; 24])
        .tensor("output_norm.weight", &[8], vec![1.0; 8])
        .tensor("blk.0.attn_norm.weight", &[8], vec![1.0; 8])
        .tensor("blk.0.ffn_norm.weight", &[8], vec![1.0; 8])
        .tensor("blk.0.ffn_gate.weight", &[4, 8], vec![1.0; 32])
        .tensor("blk.0.ffn_up.weight", &[4, 8], vec![1.0; 32])
        .tensor("blk.0.ffn_down.weight", &[8, 4], vec![1.0; 32]);
    let made = ["q", "k", "v", "output"]
        .iter()
        .fold(made, |m, n| m.tensor(&format!("blk.0.attn_{n}.weight"), &[8, 8], vec![1.0; 64]));
    ModelFile::from_gguf_bytes(more(made).bytes(), "tiny")
}

#[test]
fn keys_of_llama_files_are_read() {
    let m = tiny_llama(|m| m).unwrap();
    let c = m.config();
    assert_eq!((c.vocab, c.heads, c.kv_heads, c.head_dim, c.tied), (3, 2, 2, 4, true));
    assert_eq!((c.name.as_str(), c.windows.as_slice()), ("tiny", &[None][..]));
    assert_eq!(m.tensor_f32("token_embd.weight").unwrap(), vec![0.5; 24]);
    assert!(m.tokenizer().unwrap().is_none());
    assert_eq!(
        tiny_llama(|m| m.uint("llama.attention.sliding_window", 16)).unwrap().config().windows,
        [Some(16)]
    );
    // A window as wide as the context is none.
    assert_eq!(
        tiny_llama(|m| m.uint("llama.attention.sliding_window", 64)).unwrap().config().windows,
        [None]
    );

    let plain = c.rope.clone().unwrap();
    let linear =
        tiny_llama(|m| m.text("llama.rope.scaling.type", "linear").float("llama.rope.scaling.factor", 4.0));
    assert_eq!(linear.unwrap().config().rope.as_ref().unwrap().frequencies[1], plain.frequencies[1] / 4.0);
    let divided = tiny_llama(|m| m.tensor("rope_freqs.weight", &[2], vec![1.0, 8.0]));
    assert_eq!(divided.unwrap().config().rope.as_ref().unwrap().frequencies[1], plain.frequencies[1] / 8.0);
    let yarn = tiny_llama(|m| {
        m.text("llama.rope.scaling.type", "yarn")
            .float("llama.rope.scaling.factor", 4.0)
            .uint("llama.rope.scaling.original_context_length", 16)
    });
    let magnitude = yarn.unwrap().config().rope.as_ref().unwrap().magnitude;
    assert!((magnitude - (0.1 * 4f32.ln() + 1.0)).abs() < 1e-6);
}

#[test]
fn wrong_keys_of_llama_files_are_named() {
    let says = |r: Result<ModelFile>, status: Status, text: &str| {
        let e = r.err().unwrap();
        assert_eq!(e.status(), status, "{e}");
        assert!(e.to_string().contains(text), "{e}");
    };
    says(tiny_llama(|m| m.uint("llama.attention.head_count_kv", 3)), Status::Format, "3 key/value heads");
    says(tiny_llama(|m| m.uint("llama.expert_count", 8)), Status::Unsupported, "experts");
    says(tiny_llama(|m| m.uint("split.count", 2)), Status::Unsupported, "split");
    says(tiny_llama(|m| m.uint("llama.rope.dimension_count", 2)), Status::Unsupported, "rotary");
    says(tiny_llama(|m| m.uint("general.alignment", 24)), Status::Format, "general.alignment");
    says(tiny_llama(|m| m.uint("llama.block_count", 1)), Status::Format, "twice");
    says(tiny_llama(|m| m.tensor("output_norm.weight", &[8], vec![1.0; 8])), Status::Format, "twice");
    says(tiny_llama(|m| m.tensor("output.weight", &[2, 8], vec![1.0; 16])), Status::Format, "output.weight");
}

#[test]
fn bert_files_and_folders_are_the_same() {
    let folder = open("models/bert");
    let c = folder.config();
    let mut made = Made::default()
        .text("general.architecture", "bert")
        .uint("bert.block_count", u64::from(c.layers))
        .uint("bert.embedding_length", u64::from(c.dim))
        .uint("bert.attention.head_count", u64::from(c.heads))
        .uint("bert.feed_forward_length", u64::from(c.ffn))
        .uint("bert.context_length", u64::from(c.context))
        .uint("bert.pooling_type", 2)
        .float("bert.attention.layer_norm_epsilon", c.norm_eps);
    for name in folder.names() {
        let t = folder.tensor(name).unwrap();
        made = made.tensor(name, &t.shape, t.to_f32().unwrap());
    }
    let file = ModelFile::from_gguf_bytes(made.bytes(), &c.name).unwrap();
    let mut expected = c.clone();
    expected.pooling = Some(crate::llm::config::Pooling::Cls);
    assert_eq!(file.config(), &expected);
    for name in folder.names() {
        assert_eq!(file.tensor_f32(name).unwrap(), folder.tensor_f32(name).unwrap(), "{name}");
    }
}
