//! Models across the border: loading, tokens, generation, embeddings.

use super::callback::UserData;
use super::guard::{guard, input, out, slice, struct_size, write_list};
use super::handle::Table;
use super::map::{export, import};
use super::tenant;
use super::text::{optional_text, text, write_text};
use super::types::{
    CW_FINISH_CANCELLED, CW_FINISH_ERROR, CW_FINISH_LENGTH, CW_FINISH_STOP, CW_FINISH_STOP_STRING, CW_OK,
    cw_drop_function, cw_generate_params, cw_generation, cw_generation_stats, cw_map, cw_model, cw_status,
    cw_tenant, cw_token_function,
};
use crate::bridge::config;
use crate::llm::model_path;
use crate::llm::{
    EmbedOptions, Finish, Generation, Message, Model, Output, Pooling, Prompt, Request, Sampling,
};
use crate::{Error, Result, Status};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

static MODELS: Table<cw_model, Model> = Table::new(6, "cw_model");
static GENERATIONS: Table<cw_generation, Generation> = Table::new(7, "cw_generation");

/// Gives a model a handle.
pub(super) fn handle(model: &Arc<Model>) -> *mut cw_model {
    MODELS.insert(model.clone())
}

/// Loads a model for a tenant: `path` is a `.gguf` file or a Hugging Face folder, or the name of the model that ships
/// with Cogniware (`default`, also `NULL`). `options` (may be `NULL`) knows `context`, `max_sequences`, `kv_type`
/// (`f16`, `f32`) and `exact_head` (`true`: a BitNet model's output matrix as the file has it, not in 8 bits). All of the model's memory counts against the tenant's limit. Free it with `cw_model_free`.
///
/// # Safety
/// `path` must be null or NUL-terminated, `model` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_load(
    tenant: *mut cw_tenant,
    path: *const c_char,
    options: *const cw_map,
    model: *mut *mut cw_model,
) -> cw_status {
    guard(call!("cw_model_load", tenant, path, options, model), || {
        // SAFETY: the caller's promise.
        let (path, model) =
            unsafe { (optional_text("path", path)?.unwrap_or("default"), out("model", model)?) };
        let options = import("options", options)?;
        config::check_keys(&options, &[&["context", "max_sequences", "kv_type", "exact_head"]])?;
        let options = config::placement(&options)?.options;
        let tenant = tenant::get(tenant)?;
        let found = match Path::new(path) {
            file if file.exists() => file.to_path_buf(),
            _ if path.contains(['/', '.']) => {
                return Err(Error::not_found(format!("argument `path`: there is no {path}")));
            }
            _ => model_path(path, None)?,
        };
        *model = MODELS.insert(Model::load(&tenant, &found, &options, None)?);
        Ok(())
    })
}

/// Frees the handle. With the last one the model's requests are cancelled and its memory goes back to the tenant.
/// `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_free(model: *mut cw_model) -> cw_status {
    guard(call!("cw_model_free", model), || MODELS.remove("model", model).map(drop))
}

/// What the model is and how it was loaded: `name`, `path`, `architecture`, `vocab`, `dim`, `layers`, `context`,
/// `chat_template` (`true` when it can answer messages), `parameters`, `weights_bytes`, `scratch_bytes`, `kv_cache_bytes`, `weights_shared`, `load_seconds`,
/// `load_bytes_per_second`, `generated_tokens`, `device_time_seconds`. Free the map.
///
/// # Safety
/// `info` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_info(model: *const cw_model, info: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_model_info", model, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        let model = MODELS.get("model", model)?;
        let (is, load, stats) = (model.config(), model.load_stats(), model.stats());
        let figures = [
            ("name", is.name.clone()),
            ("path", model.path().display().to_string()),
            ("architecture", is.architecture.name().to_owned()),
            ("vocab", is.vocab.to_string()),
            ("dim", is.dim.to_string()),
            ("layers", is.layers.to_string()),
            ("context", model.context().to_string()),
            ("chat_template", model.chat_template().is_some().to_string()),
            ("parameters", model.parameters().to_string()),
            ("weights_bytes", load.image_bytes.to_string()),
            ("scratch_bytes", load.scratch_bytes.to_string()),
            ("kv_cache_bytes", stats.kv_bytes.to_string()),
            ("weights_shared", load.shared.to_string()),
            ("load_seconds", load.time.as_secs_f64().to_string()),
            ("load_bytes_per_second", load.bytes_per_second.to_string()),
            ("generated_tokens", stats.generated_tokens.to_string()),
            ("device_time_seconds", stats.device_time.as_secs_f64().to_string()),
        ];
        *info = export(figures.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        Ok(())
    })
}

/// The tokens of a text: up to `capacity` of them to `ids`, and to `*count` how many there are. With `add_special` the
/// tokens that a text starts (and ends) with are added.
///
/// # Safety
/// `text` must be NUL-terminated, `ids` valid for `capacity` writes, `count` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_tokenize(
    model: *const cw_model,
    text: *const c_char,
    add_special: i32,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_model_tokenize", model, text, add_special, ids, capacity, count), || {
        // SAFETY: the caller's promise.
        let (text, count) = unsafe { (super::text::text("text", text)?, out("count", count)?) };
        let model = MODELS.get("model", model)?;
        let list = model.tokenizer()?.encode(text, add_special != 0, false)?;
        // SAFETY: the caller's promise.
        unsafe { write_list("ids", &list, ids, capacity, count) }
    })
}

/// The text of tokens, special ones left out, to the caller's buffer.
///
/// # Safety
/// `ids` must be valid for `count` reads; the buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_detokenize(
    model: *const cw_model,
    ids: *const u32,
    count: usize,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_model_detokenize", model, ids, count, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        let ids = unsafe { slice("ids", ids, count)? };
        let model = MODELS.get("model", model)?;
        let vocab = model.config().vocab;
        if let Some(bad) = ids.iter().find(|&&id| id >= vocab) {
            return Err(Error::argument("ids", format!("token {bad} is outside the vocabulary of {vocab}")));
        }
        // SAFETY: the caller's promise.
        unsafe { write_text(&model.tokenizer()?.decode(ids, true)?, buffer, length, needed) }
    })
}

/// Fills the parameters of a generation with defaults: an empty prompt, up to 128 tokens, temperature 0.8, top-k 40,
/// top-p 0.95, no penalties, a fresh seed.
///
/// # Safety
/// `params` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generate_params_default(params: *mut cw_generate_params) -> cw_status {
    guard(call!("cw_generate_params_default", params), || {
        let how = Sampling::default();
        // SAFETY: the caller's promise.
        *unsafe { out("params", params)? } = cw_generate_params {
            struct_size: size_of::<cw_generate_params>(),
            prompt: std::ptr::null(),
            prompt_tokens: std::ptr::null(),
            prompt_token_count: 0,
            system: std::ptr::null(),
            stop: std::ptr::null(),
            stop_count: 0,
            seed: 0,
            has_seed: 0,
            chat: 0,
            ignore_eos: 0,
            logprobs: 0,
            max_tokens: 128,
            top_k: how.top_k,
            temperature: how.temperature,
            top_p: how.top_p,
            min_p: how.min_p,
            repeat_penalty: how.repeat_penalty,
            presence_penalty: how.presence_penalty,
            frequency_penalty: how.frequency_penalty,
        };
        Ok(())
    })
}

/// Starts a generation. `on_token` (may be `NULL`) sees each piece of text on a thread of the model: be quick there,
/// and do not wait for a generation of the same model. `drop` runs once, after the last call of `on_token`, or when
/// starting fails. Wait with `cw_generation_wait`, free with `cw_generation_free`.
///
/// # Safety
/// `params` and what it points to must be valid during the call; `on_token` must be callable with `user_data` from
/// another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_generate(
    model: *mut cw_model,
    params: *const cw_generate_params,
    on_token: cw_token_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    generation: *mut *mut cw_generation,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_model_generate", model, params, on_token, user_data, drop, generation), || {
        // SAFETY: the caller's promise.
        let (params, generation) = unsafe { (input("params", params)?, out("generation", generation)?) };
        struct_size::<cw_generate_params>("params", params.struct_size)?;
        let model = MODELS.get("model", model)?;
        // SAFETY: the caller's promise.
        let mut request = unsafe { request(params)? };
        if let Some(function) = on_token {
            request = request.with_on_token(move |piece| {
                let user = &user;
                // A NUL cannot pass as a C string; models do not make them in text.
                let text = CString::new(piece.text.replace('\0', "")).unwrap_or_default();
                let token = piece.token.unwrap_or(u32::MAX);
                // SAFETY: the caller's promise.
                Ok(unsafe { function(user.data, text.as_ptr(), token, piece.logprob.unwrap_or(f32::NAN)) }
                    != 0)
            });
        }
        *generation = GENERATIONS.insert(Arc::new(model.generate(request)?));
        Ok(())
    })
}

/// # Safety
/// What `params` points to must be valid.
unsafe fn request(params: &cw_generate_params) -> Result<Request> {
    // SAFETY: the caller's promise.
    let (prompt, tokens, system, stop) = unsafe {
        (
            optional_text("params.prompt", params.prompt)?,
            slice("params.prompt_tokens", params.prompt_tokens, params.prompt_token_count)?,
            optional_text("params.system", params.system)?,
            slice("params.stop", params.stop, params.stop_count)?,
        )
    };
    let prompt = match (prompt, tokens) {
        (Some(_), [_, ..]) => {
            return Err(Error::argument("params.prompt_tokens", "are given together with params.prompt"));
        }
        (None, [_, ..]) => Prompt::Tokens(tokens.to_vec()),
        (text, []) if params.chat != 0 => {
            let system = system.map(|s| Message::new("system", s));
            Prompt::Chat(system.into_iter().chain([Message::new("user", text.unwrap_or_default())]).collect())
        }
        (text, []) => Prompt::Text(text.unwrap_or_default().to_owned()),
    };
    let mut stops = Vec::new();
    for &entry in stop {
        // SAFETY: the caller's promise.
        stops.push(unsafe { text("params.stop", entry)? }.to_owned());
    }
    let sampling = Sampling {
        temperature: params.temperature,
        top_k: params.top_k,
        top_p: params.top_p,
        min_p: params.min_p,
        repeat_penalty: params.repeat_penalty,
        presence_penalty: params.presence_penalty,
        frequency_penalty: params.frequency_penalty,
        seed: (params.has_seed != 0).then_some(params.seed),
        ..Sampling::default()
    };
    Ok(Request {
        max_tokens: Some(params.max_tokens),
        sampling,
        stop: stops,
        ignore_eos: params.ignore_eos != 0,
        logprobs: (params.logprobs != 0).then_some(0),
        ..Request::new(prompt)
    })
}

/// The outcome of a generation that must have ended.
fn ended(generation: *const cw_generation) -> Result<Output> {
    GENERATIONS.get("generation", generation)?.poll().ok_or_else(|| {
        Error::new(Status::Busy, "the generation has not ended yet").advise("call cw_generation_wait first")
    })
}

/// Waits for the end, at most `timeout_ms` milliseconds (negative: without end); `CW_ERROR_TIMEOUT` when it has not
/// ended by then. A generation that failed answers its error; how it ended is in `cw_generation_get_stats`.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_wait(generation: *const cw_generation, timeout_ms: i64) -> cw_status {
    guard(call!("cw_generation_wait", generation, timeout_ms), || {
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let output = GENERATIONS.get("generation", generation)?.outcome_within(timeout)?;
        output.error.filter(|_| output.finish == Finish::Error).map_or(Ok(()), Err)
    })
}

/// Asks for the generation's end; it ends between two steps, also while its prompt is read.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_cancel(generation: *const cw_generation) -> cw_status {
    guard(call!("cw_generation_cancel", generation), || {
        GENERATIONS.get("generation", generation)?.cancel();
        Ok(())
    })
}

/// The whole text of an ended generation, to the caller's buffer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_text(
    generation: *const cw_generation,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_generation_text", generation, buffer, length, needed), || {
        let output = ended(generation)?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&output.text, buffer, length, needed) }
    })
}

/// The tokens of an ended generation: up to `capacity` of them, and to `*count` how many there are.
///
/// # Safety
/// `ids` must be valid for `capacity` writes, `count` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_tokens(
    generation: *const cw_generation,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_generation_tokens", generation, ids, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let output = ended(generation)?;
        // SAFETY: the caller's promise.
        unsafe { write_list("ids", &output.tokens, ids, capacity, count) }
    })
}

/// The natural logarithms of the probabilities of an ended generation's tokens, when `logprobs` was set; else none.
///
/// # Safety
/// `logprobs` must be valid for `capacity` writes, `count` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_logprobs(
    generation: *const cw_generation,
    logprobs: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_generation_logprobs", generation, logprobs, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let output = ended(generation)?;
        let list: Vec<f32> = output.logprobs.iter().map(|l| l.logprob).collect();
        // SAFETY: the caller's promise.
        unsafe { write_list("logprobs", &list, logprobs, capacity, count) }
    })
}

/// How an ended generation went. Set `stats->struct_size` first.
///
/// # Safety
/// `stats` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_get_stats(
    generation: *const cw_generation,
    stats: *mut cw_generation_stats,
) -> cw_status {
    guard(call!("cw_generation_get_stats", generation, stats), || {
        // SAFETY: the caller's promise.
        let stats = unsafe { out("stats", stats)? };
        struct_size::<cw_generation_stats>("stats", stats.struct_size)?;
        let output = ended(generation)?;
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        *stats = cw_generation_stats {
            struct_size: stats.struct_size,
            prompt_tokens: output.prompt_tokens,
            cached_tokens: output.cached_tokens,
            generated_tokens: output.tokens.len() as u32,
            finish: match output.finish {
                Finish::Stop => CW_FINISH_STOP,
                Finish::StopString => CW_FINISH_STOP_STRING,
                Finish::Length => CW_FINISH_LENGTH,
                Finish::Cancelled => CW_FINISH_CANCELLED,
                Finish::Error => CW_FINISH_ERROR,
            },
            status: output.error.as_ref().map_or(CW_OK, |e| e.status() as i32),
            seed: output.seed,
            queue_ms: ms(output.timings.queue),
            prefill_ms: ms(output.timings.prefill),
            ttft_ms: ms(output.timings.first_token),
            decode_ms: ms(output.timings.decode),
            total_ms: ms(output.timings.total),
            tokens_per_second: output.timings.tokens_per_second,
        };
        Ok(())
    })
}

/// Frees the handle; a generation that has not ended is cancelled. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_generation_free(generation: *mut cw_generation) -> cw_status {
    guard(call!("cw_generation_free", generation), || {
        if let Some(generation) = GENERATIONS.remove("generation", generation)? {
            // Not left to the drop: another thread that waits for it now holds it too.
            generation.cancel();
        }
        Ok(())
    })
}

/// One vector for each of `count` texts. Writes to `*dim` the elements of a vector and, when `capacity` is at least
/// `count * dim`, the vectors one after the other to `vectors`. `pooling`: `mean`, `cls`, `last`, or `NULL` for what
/// the model's files say. `normalize`: 1 or 0, negative for what the model's files say.
///
/// # Safety
/// `texts` must hold `count` NUL-terminated texts, `vectors` be valid for `capacity` writes, `dim` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_model_embed(
    model: *mut cw_model,
    texts: *const *const c_char,
    count: usize,
    pooling: *const c_char,
    normalize: i32,
    vectors: *mut f32,
    capacity: usize,
    dim: *mut usize,
) -> cw_status {
    guard(call!("cw_model_embed", model, texts, count, pooling, normalize, vectors, capacity, dim), || {
        // SAFETY: the caller's promise.
        let (entries, dim) = unsafe { (slice("texts", texts, count)?, out("dim", dim)?) };
        let model = MODELS.get("model", model)?;
        // SAFETY: the caller's promise.
        let pooling = match unsafe { optional_text("pooling", pooling)? } {
            None => None,
            Some("mean") => Some(Pooling::Mean),
            Some("cls") => Some(Pooling::Cls),
            Some("last") => Some(Pooling::Last),
            Some(other) => {
                return Err(Error::argument("pooling", format!("{other:?} is not mean, cls or last")));
            }
        };
        *dim = model.config().dim as usize;
        if capacity == 0 && vectors.is_null() {
            return Ok(());
        }
        let whole = count.checked_mul(*dim).ok_or_else(|| Error::argument("count", "is too large"))?;
        if capacity < whole {
            return Err(Error::new(
                Status::BufferTooSmall,
                format!("argument `vectors`: has room for {capacity} numbers, {whole} are needed"),
            ));
        }
        let mut list = Vec::with_capacity(count);
        for &entry in entries {
            // SAFETY: the caller's promise.
            list.push(unsafe { text("texts", entry)? });
        }
        let options =
            EmbedOptions { pooling, normalize: (normalize >= 0).then_some(normalize > 0), truncate: false };
        let flat = model.embed(&list, &options)?.concat();
        let mut written = 0;
        // SAFETY: the caller's promise.
        unsafe { write_list("vectors", &flat, vectors, capacity, &mut written) }
    })
}
