//! A `config.json` and a safetensors file: the first two bytes say where the one ends and the other begins.
#![no_main]

use cogniware::llm::file::ModelFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*head)).min(rest.len());
    let (config, weights) = rest.split_at(cut);
    let Ok(model) = ModelFile::from_safetensors_bytes(config, weights.to_vec()) else { return };
    for name in model.names() {
        let _ = model.tensor_f32(name);
    }
});
