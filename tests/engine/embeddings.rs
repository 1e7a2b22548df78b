//! Embeddings against transformers.

use crate::common::{Expected, distance, fixture, load, on_cpu};
use cogniware::Status;
use cogniware::llm::{EmbedOptions, Pooling, Request};

#[test]
fn bert_agrees_with_transformers() {
    let name = "models/bert";
    let (_home, model) = load(name);
    let dim = model.config().dim as usize;
    let expected = Expected::of(name);
    let (ids, types) = (expected.ids("input_ids"), expected.ids("token_type_ids"));
    let mask = expected.ids("attention_mask");
    let want = expected.floats("last_hidden");
    let width = ids.len() / 3;
    for row in 0..3 {
        let n = mask[row * width..(row + 1) * width].iter().filter(|m| **m == 1).count();
        let at = row * width;
        let got = model.token_vectors(&ids[at..at + n], &types[at..at + n]).unwrap();
        let off = distance(&got, &want[at * dim..(at + n) * dim]);
        assert!(off <= if on_cpu() { 1e-4 } else { 1e-3 }, "text {row}: {off}");
    }
}

#[test]
fn pooled_texts_agree_with_transformers() {
    let name = "models/bert";
    let (_home, model) = load(name);
    let dim = model.config().dim as usize;
    let texts: Vec<String> =
        serde_json::from_slice(&std::fs::read(fixture("models/bert/texts.json")).unwrap()).unwrap();
    let expected = Expected::of(name);
    for (tensor, pooling, normalize) in [
        ("cls", Pooling::Cls, false),
        ("mean", Pooling::Mean, false),
        ("cls_norm", Pooling::Cls, true),
        ("mean_norm", Pooling::Mean, true),
    ] {
        let options = EmbedOptions { pooling: Some(pooling), normalize: Some(normalize), truncate: false };
        let vectors = model.embed(&texts, &options).unwrap();
        let want = expected.floats(tensor);
        // Row 0 was computed with a second segment, which a single text does not have.
        for row in 1..3 {
            let off = distance(&vectors[row], &want[row * dim..(row + 1) * dim]);
            assert!(off <= if on_cpu() { 1e-4 } else { 1e-3 }, "{tensor} of text {row}: {off}");
        }
    }
}

#[test]
fn a_batch_of_texts_equals_each_alone() {
    for name in ["models/bert", "models/qwen3"] {
        let (_home, model) = load(name);
        let texts: Vec<String> = (0..20).map(|n| "one device, many models. ".repeat(n % 4 + 1)).collect();
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let options = EmbedOptions { pooling: Some(pooling), ..EmbedOptions::default() };
            let together = model.embed(&texts, &options).unwrap();
            for (text, vector) in texts.iter().zip(&together) {
                let alone = &model.embed(&[text], &options).unwrap()[0];
                let equal = if on_cpu() { alone == vector } else { distance(alone, vector) < 1e-3 };
                assert!(equal, "{name}, {pooling:?}");
            }
        }
    }
}

#[test]
fn encoders_refuse_to_generate_and_long_texts_are_cut_only_on_demand() {
    let (_home, model) = load("models/bert");
    assert_eq!(model.generate(Request::text("x")).err().unwrap().status(), Status::Unsupported);
    let long = "many models ".repeat(500);
    assert_eq!(
        model.embed(&[&long], &EmbedOptions::default()).unwrap_err().status(),
        Status::InvalidArgument
    );
    let cut = EmbedOptions { truncate: true, ..EmbedOptions::default() };
    assert_eq!(model.embed(&[&long], &cut).unwrap()[0].len(), model.config().dim as usize);
}
