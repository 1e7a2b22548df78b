//! A model follows its tenant from node to node.

use crate::common::{Home, MIB};
use cogniware::Status;
use cogniware::llm::{Model, ModelOptions, Request, Sampling};

/// Cores or SMs of the whole device.
fn processors(home: &Home) -> u32 {
    home.0.device().units().iter().map(|unit| unit.processors).sum()
}

fn tokens(model: &Model) -> cogniware::Result<Vec<u32>> {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let prompt: Vec<u32> = (0..40).map(|i| (i * 7 + 3) % 300).collect();
    let mut request = Request::tokens(prompt).with_max_tokens(20).with_sampling(sampling);
    request.ignore_eos = true;
    Ok(model.generate(request)?.wait()?.tokens)
}

/// More threads need more scratch than the model was loaded with.
#[test]
fn a_model_works_on_a_node_that_grew_and_shrank() {
    let home = Home::new(256 * MIB);
    let model = home.load("models/llama2", &ModelOptions::default());
    let before = tokens(&model).unwrap();
    let made = home.0.make_node(processors(&home)).unwrap();
    assert_eq!(tokens(&model).unwrap(), before, "on the whole device");
    home.0.give_node(made).unwrap();
    assert_eq!(tokens(&model).unwrap(), before, "on a small node again");
    drop(model);
    assert_eq!(home.held(), 0);
}

#[test]
fn a_quota_without_room_for_a_larger_node_says_so_and_the_small_one_goes_on() {
    let home = Home::new(256 * MIB);
    let model = home.load("models/llama2", &ModelOptions::default());
    let before = tokens(&model).unwrap();
    home.0.account().set_limit(home.held()).unwrap();
    let made = home.0.make_node(processors(&home)).unwrap();
    match tokens(&model) {
        // The device has one unit, or needs no more scratch for several.
        Ok(same) => assert_eq!(same, before),
        Err(error) => {
            assert_eq!(error.status(), Status::QuotaExceeded, "{error}");
            assert!(error.to_string().contains("larger compute node"), "{error}");
        }
    }
    home.0.give_node(made).unwrap();
    assert_eq!(tokens(&model).unwrap(), before);
}
