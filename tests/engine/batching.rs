//! On the CPU device results depend neither on the batch nor on chunks nor on neighbours, to the bit. On a GPU sums may
//! be taken in another order, so there the same tests allow for rounding, or do not apply.

use crate::common::{Expected, Home, MIB, bits, distance, load, load_with, on_cpu};
use cogniware::llm::{Finish, Generation, Model, ModelOptions, Output, Request, Sampling};

fn request(ids: &[u32], seed: u64) -> Request {
    let sampling = Sampling {
        seed: Some(seed),
        temperature: 1.0,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        ..Sampling::default()
    };
    let mut request = Request::tokens(ids).with_max_tokens(40).with_sampling(sampling);
    request.ignore_eos = true;
    request.logprobs = Some(2);
    request
}

fn same(a: &Output, b: &Output) {
    assert_eq!(a.tokens, b.tokens);
    assert_eq!(a.text, b.text);
    assert_eq!(a.logprobs, b.logprobs);
}

#[test]
fn chunk_sizes_do_not_change_a_bit() {
    for name in ["models/mistral", "gguf/qwen2.q4_0.gguf"] {
        let ids: Vec<u32> = (0..150).map(|i| (i * 37 + 11) % 300).collect();
        let mut first: Option<Vec<f32>> = None;
        for rows in [1, 7, 32, 33, 128] {
            let options = ModelOptions { prefill_rows: Some(rows), ..ModelOptions::default() };
            let (_home, model) = load_with(name, &options);
            let logits = model.logits(&ids).unwrap();
            let first = first.get_or_insert_with(|| logits.clone());
            let equal = if on_cpu() { bits(first) == bits(&logits) } else { distance(first, &logits) < 1e-2 };
            assert!(equal, "{name}: {rows} rows");
        }
    }
}

#[test]
fn decoding_equals_reading() {
    let (_home, model) = load("models/qwen2");
    let ids = Expected::of("models/qwen2").ids("input_ids");
    let output = model.generate(request(&ids, 3)).unwrap().wait().unwrap();
    let all: Vec<u32> = ids.iter().chain(&output.tokens).copied().collect();
    let logits = model.logits(&all).unwrap();
    let vocab = model.config().vocab as usize;
    for (at, entry) in output.logprobs.iter().enumerate() {
        let row = &logits[(ids.len() - 1 + at) * vocab..][..vocab];
        let highest = row.iter().copied().fold(f32::MIN, f32::max);
        let total = f64::from(highest)
            + row.iter().map(|l| (f64::from(*l) - f64::from(highest)).exp()).sum::<f64>().ln();
        let logprob = (f64::from(row[entry.token as usize]) - total) as f32;
        let equal = if on_cpu() {
            logprob.to_bits() == entry.logprob.to_bits()
        } else {
            (logprob - entry.logprob).abs() < 1e-2
        };
        assert!(equal, "token {at}: {logprob} {}", entry.logprob);
    }
}

#[test]
fn a_seed_gives_the_same_answer_in_every_batch() {
    if !on_cpu() {
        return;
    }
    let name = "gguf/llama2.q8_0.gguf";
    let prompts: Vec<Vec<u32>> =
        (0..8).map(|p| (0..5 + p * 9).map(|i| (i * 31 + p * 17 + 5) % 300).collect()).collect();
    let options = ModelOptions { mixed_rows: Some(16), ..ModelOptions::default() };
    let (_home, model) = load_with(name, &options);
    let alone: Vec<Output> =
        (0..8).map(|p| model.generate(request(&prompts[p], p as u64)).unwrap().wait().unwrap()).collect();
    assert!(alone.iter().all(|o| o.finish == Finish::Length && o.tokens.len() == 40));
    for batch in [2, 4, 8] {
        let running: Vec<Generation> =
            (0..batch).map(|p| model.generate(request(&prompts[p], p as u64)).unwrap()).collect();
        for (running, alone) in running.iter().zip(&alone) {
            same(&running.wait().unwrap(), alone);
        }
    }
}

#[test]
fn neighbours_change_nothing() {
    let names = ["models/llama3", "models/qwen2", "gguf/llama2.q4_0.gguf", "models/smollm"];
    let homes: Vec<Home> = names.iter().map(|_| Home::new(64 * MIB)).collect();
    let models: Vec<_> =
        homes.iter().zip(names).map(|(home, name)| home.load(name, &ModelOptions::default())).collect();
    let ids: Vec<u32> = (0..60).map(|i| (i * 13 + 7) % 300).collect();
    let answer = |model: &Model| model.generate(request(&ids, 11)).unwrap();
    let alone: Vec<Output> = models.iter().map(|m| answer(m).wait().unwrap()).collect();
    let beside: Vec<Generation> = models.iter().map(|m| answer(m)).collect();
    for (beside, alone) in beside.iter().zip(&alone) {
        same(&beside.wait().unwrap(), alone);
    }
}

#[test]
fn more_requests_than_places_queue_in_order() {
    let options = ModelOptions { max_sequences: Some(2), ..ModelOptions::default() };
    let (_home, model) = load_with("models/llama2", &options);
    let running: Vec<Generation> = (0..7).map(|p| model.generate(request(&[5, 6, 7], p)).unwrap()).collect();
    let queues: Vec<_> = running.iter().map(|g| g.wait().unwrap().timings.queue).collect();
    assert!(queues[6] > queues[0], "{queues:?}");
    // The engine reports its figures after it has told the last outcome.
    drop(running);
    model.close();
    let stats = model.stats();
    assert_eq!((stats.running, stats.waiting, stats.generated_tokens), (0, 0, 7 * 40));
}
