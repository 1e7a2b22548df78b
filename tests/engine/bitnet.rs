//! BitNet models in every storage against transformers' own layers.
//!
//! Activations are rounded to 8 bits before each ternary product, and where one lies next to a tie its last bit decides the code,
//! which moves logits (standard deviation 1.9) by 0.1. The inputs are such that none does, so that logits agree as closely as
//! those of other models.

use crate::common::{Expected, distance, fixture, load_with, on_cpu};
use cogniware::llm::file::ModelFile;
use cogniware::llm::{ModelOptions, Request, Sampling};
use cogniware::quant::DType;

fn exact() -> f32 {
    // A GPU adds up norms and attention in another order, after which an activation may lie on the other side of a tie.
    if on_cpu() { 1e-4 } else { 0.2 }
}
/// With the output matrix and the embedding in 8 bits: about one and a half times what that does here.
const ROUNDED: f32 = 0.6;

fn options(exact_head: bool) -> ModelOptions {
    ModelOptions { kv: Some(DType::F32), exact_head, ..ModelOptions::default() }
}

fn off(name: &str, exact_head: bool) -> f32 {
    let (_home, model) = load_with(name, &options(exact_head));
    let expected = Expected::of(name);
    let logits = model.logits(&expected.ids("input_ids")).unwrap();
    distance(&logits, &expected.floats("logits"))
}

#[test]
fn every_storage_agrees_with_transformers() {
    for name in [
        "models/bitnet",
        "models/bitnet-divided",
        "models/bitnet-master",
        "gguf/bitnet.i2_s.gguf",
        "gguf/bitnet256.tq1_0.gguf",
        "gguf/bitnet256.tq2_0.gguf",
    ] {
        let (exact, rounded) = (off(name, true), off(name, false));
        eprintln!("{name}: logits differ by up to {exact:e}, with a head of 8 bits by {rounded:e}");
        assert!(exact <= self::exact(), "{name}: {exact}");
        assert!(rounded <= ROUNDED && rounded != exact, "{name}: {rounded}");
    }
}

#[test]
fn storages_of_one_network_give_the_same_bits() {
    let logits = |name: &str| {
        let (_home, model) = load_with(name, &options(false));
        let ids = Expected::of("models/bitnet").ids("long_ids");
        model.logits(&ids[..64]).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let first = logits("models/bitnet");
    assert!(first == logits("models/bitnet-divided"), "scales that divide");
    // Float matrices of GGUF are F16 and those of the folder BF16: the same numbers, since the weights were made so.
    assert!(first == logits("gguf/bitnet.i2_s.gguf"), "GGUF");
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for name in ["models/bitnet", "gguf/bitnet256.tq2_0.gguf", "models/bitnet-master"] {
        let (_home, model) = load_with(name, &options(true));
        let expected = Expected::of(name);
        let want = expected.ids("greedy_ids");
        let request = Request::tokens(expected.ids("input_ids"))
            .with_max_tokens(want.len() as u32)
            .with_sampling(Sampling::greedy());
        let got = model.generate(request).unwrap().wait().unwrap().tokens;
        assert_eq!(got, want[..got.len()], "{name}");
    }
}

#[test]
fn files_that_do_not_say_how_they_cut_texts_cut_as_llama_3() {
    let (_home, said) = load_with("models/bitnet", &options(false));
    let (_other, silent) = load_with("gguf/bitnet.i2_s.gguf", &options(false));
    let cut =
        |model: &cogniware::llm::Model, text| model.tokenizer().unwrap().encode(text, true, false).unwrap();
    for text in ["It's 12345 apples,\n\n and MORE", "don't  stop"] {
        assert_eq!(cut(&said, text), cut(&silent, text), "{text}");
    }
}

/// Damaged files are errors that name the tensor.
#[test]
fn damaged_ternary_tensors_are_refused() {
    let good = std::fs::read(fixture("gguf/bitnet.i2_s.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let says = |bytes: &[u8], word: &str| {
        let path = folder.path().join("damaged.gguf");
        std::fs::write(&path, bytes).unwrap();
        let home = crate::common::Home::new(64 << 20);
        let e = cogniware::llm::Model::load(&home.0, &path, &options(false), None).err().expect(word);
        assert!(e.to_string().contains(word), "{e} does not say {word}");
    };
    // Where its tensors lie: the codes of a matrix, then its scale.
    let parsed = ModelFile::from_gguf_bytes(good.clone(), "good").unwrap();
    let name = "blk.1.ffn_up.weight";
    let stored = parsed.tensor(name).unwrap().data.to_vec();
    let at = good.windows(stored.len()).position(|w| w == stored).unwrap();
    let mut bytes = good.clone();
    bytes[at + 100] |= 0xC0;
    says(&bytes, "code 3");
    says(&bytes, name);
    let mut bytes = good.clone();
    bytes[at + stored.len() - 32..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    says(&bytes, "the scale is NaN");
    says(&good[..good.len() - 4096], "cut");
    // Another number of the type: a tensor of 8 x 128 weights is then no longer 288 bytes.
    let at = (0..good.len() - 4)
        .find(|&i| good[i..].starts_with(b"blk.0.attn_q.weight"))
        .expect("the tensor's entry");
    let kind = at + 19 + 4 + 16;
    assert_eq!(good[kind], 36);
    let mut bytes = good.clone();
    bytes[kind] = 37;
    says(&bytes, "blk.0.attn_q.weight");
}

/// What no quantizer writes is refused in the formats of blocks too.
#[test]
fn damaged_blocks_are_refused() {
    let good = std::fs::read(fixture("gguf/bitnet256.tq2_0.gguf")).unwrap();
    let parsed = ModelFile::from_gguf_bytes(good.clone(), "good").unwrap();
    let name = "blk.0.ffn_up.weight";
    let stored = parsed.tensor(name).unwrap().data.to_vec();
    let at = good.windows(stored.len()).position(|w| w == stored).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The third block: a code, then its f16 scale as NaN, infinity and a negative number.
    let scale = 2 * 66 + 64;
    for (place, bytes, word) in [
        (2 * 66, &[0xFFu8][..], "code 3"),
        (scale, &[0x00, 0x7E], "NaN"),
        (scale, &[0x00, 0x7C], "inf"),
        (scale, &[0x00, 0xAC], "-0.0625"),
    ] {
        let mut damaged = good.clone();
        damaged[at + place..][..bytes.len()].copy_from_slice(bytes);
        let path = folder.path().join("damaged.gguf");
        std::fs::write(&path, damaged).unwrap();
        let home = crate::common::Home::new(64 << 20);
        let e = cogniware::llm::Model::load(&home.0, &path, &options(false), None).err().expect(word);
        assert!(e.to_string().contains(word) && e.to_string().contains(name), "{e}");
    }
}
