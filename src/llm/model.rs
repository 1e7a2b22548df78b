//! Models: loading, and the calls that a tenant makes on a loaded one.

use super::config::ModelConfig;
use super::engine::{
    Answer, Canceller, Generation, ModelStats, Net, Pages, Sequence, SessionLink, Shared, Want, Worker,
    WorkerParts,
};
use super::file::ModelFile;
use super::net::decoder::{Decoder, StepLimits};
use super::net::encoder::Encoder;
use super::net::scratch::{LargestStep, Scratch};
use super::net::weights::{IMAGE_VERSION, LoadProgress, Plan};
use super::options::{Limits, ModelOptions};
use super::request::{Output, Prompt, Request};
use super::sampling::{Sampler, Stops};
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::memory::{self, SharedMapping};
use crate::ops::{KvLayout, Ops};
use crate::quant::DType;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tokens per page of the key/value cache.
const PAGE_TOKENS: u32 = 32;
/// Lines of logits beyond one a sequence, for requests that want those of a whole prompt.
const EXTRA_LOGITS: u32 = 16;
/// Fewer rows a step are not worth having.
const FEWEST_ROWS: u32 = 16;

/// How the weights came into memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadStats {
    /// Bytes of the tensors in the file.
    pub file_bytes: u64,
    /// Bytes of the packed image, each tenant charged with all of them.
    pub image_bytes: u64,
    /// From the first tensor until the image was mapped into the tenant's space.
    pub time: Duration,
    /// Another tenant (or model) had the image already: nothing was read.
    pub shared: bool,
    /// `file_bytes` over `time`; 0 when `shared`.
    pub bytes_per_second: f64,
    /// Bytes of activations and of the operations' scratch.
    pub scratch_bytes: u64,
}

/// A loaded model of one tenant. Usable from any thread.
///
/// Everything it holds lies in the tenant's space and counts against its quota: the weights in full (also when tenants
/// that loaded the same file share one physical copy, so that a tenant's figures never depend on its neighbours), the
/// key/value cache as it grows, the working memory of a step. Its work runs on the tenant's node through the gate.
/// Dropping it cancels its requests, ends its thread and gives the memory back; so does [`Model::close`].
pub struct Model {
    tenant: Arc<Tenant>,
    path: PathBuf,
    config: ModelConfig,
    context: u32,
    kv: DType,
    tokenizer: Option<Tokenizer>,
    template: Option<ChatTemplate>,
    /// Tokens that end a text.
    ends: Vec<u32>,
    load: LoadStats,
    parameters: u64,
    shared: Arc<Shared>,
    /// The weights, while anybody holds them.
    weights: Weak<memory::Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Model {
    /// Loads a `.gguf` file or a Hugging Face folder for `tenant`. `progress` sees the bytes packed so far on the
    /// calling thread; returning false cancels with [`Status::Cancelled`].
    ///
    /// Errors: [`Status::QuotaExceeded`] when weights, working memory or the first page of the cache do not fit the
    /// tenant's limit (nothing is kept); those of [`ModelFile::open`]; an option outside its domain.
    pub fn load(
        tenant: &Arc<Tenant>,
        path: &Path,
        options: &ModelOptions,
        progress: Option<&mut dyn FnMut(LoadProgress) -> bool>,
    ) -> Result<Arc<Model>> {
        let model = load(tenant, path, options, progress)
            .map_err(|e| e.within(format!("model {}", path.display())))?;
        let (load, id) = (&model.load, tenant.id());
        crate::log_later!(
            Info,
            "model",
            "loaded {} for tenant {id:?}: {} bytes in {:.3} s{}",
            path.display(),
            load.image_bytes,
            load.time.as_secs_f64(),
            if load.shared { ", shared" } else { "" }
        );
        Ok(model)
    }

    /// The tenant.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Positions per sequence.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// Element type of the key/value cache.
    pub fn kv_type(&self) -> DType {
        self.kv
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::unsupported("the model's files hold no tokenizer").advise("give token ids instead of text")
        })
    }

    /// The chat template, if the files hold one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// How it was loaded.
    pub fn load_stats(&self) -> LoadStats {
        self.load
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Figures of now.
    pub fn stats(&self) -> ModelStats {
        self.shared.stats()
    }

    /// Starts a generation; it joins the batch between two steps, in order of arrival.
    ///
    /// Errors at once: an empty prompt, one that fills the context, ids or values outside their domain, a model that
    /// does not generate or has no tokenizer or template for what is asked, a closed model. Later ones are in the
    /// outcome.
    pub fn generate(&self, request: Request) -> Result<Generation> {
        let tokens = self.tokens_of(&request.prompt, true)?;
        let sequence = self.sequence(request, tokens)?;
        self.start(sequence, None)
    }

    /// The tokens of a prompt. Text begins with what the model expects in front of it when `begins`.
    pub fn tokens_of(&self, prompt: &Prompt, begins: bool) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Tokens(tokens) => {
                self.check_ids(tokens)?;
                Ok(tokens.clone())
            }
            Prompt::Text(text) => self.tokenizer()?.encode(text, begins, false),
            Prompt::Chat(messages) => {
                let template = self.template.as_ref().ok_or_else(|| {
                    Error::unsupported("the model's files hold no chat template")
                        .advise("it was made to continue text: give text, or use an instruct model")
                })?;
                self.tokenizer()?.encode(&template.render(messages, true)?, false, true)
            }
        }
    }

    /// The logits of every position, f32 `[ids][vocab]`, computed like any prompt (for tests and scoring).
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.must_generate()?;
        self.values(vec![self.bare(Want::Logits, ids.to_vec())?]).map(|mut v| v.remove(0))
    }

    /// Ends all requests as cancelled, waits for the engine and gives the memory back. Calls after it fail with
    /// [`Status::NotInitialized`]. From a callback of this model it does not wait.
    pub fn close(&self) {
        self.shared.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|_| !self.shared.is_engine_thread()) {
            // The engine catches its own panics and reports them to its requests.
            let _ = thread.join();
        }
    }

    /// The image of its weights, for who wants to keep it beyond the model; `None` once nobody holds it.
    pub fn weights(&self) -> Option<Arc<memory::Shared>> {
        self.weights.upgrade()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn must_generate(&self) -> Result<()> {
        if self.config.architecture.is_encoder() {
            let what = format!("`{}` is an encoder: it makes embeddings, not text", self.config.name);
            return Err(Error::unsupported(what).advise("load a model that generates"));
        }
        Ok(())
    }

    /// Refuses prompts that leave no room for a token.
    pub(crate) fn check_length(&self, tokens: usize) -> Result<()> {
        if tokens >= self.context as usize {
            return Err(Error::argument(
                "prompt",
                format!("{tokens} tokens leave no room in the context of {}", self.context),
            )
            .advise("shorten it, or load the model with a longer context"));
        }
        Ok(())
    }

    /// A sequence that generates as `request` says after `tokens`.
    pub(crate) fn sequence(&self, request: Request, tokens: Vec<u32>) -> Result<Sequence> {
        self.must_generate()?;
        if tokens.is_empty() {
            return Err(Error::argument("prompt", "is empty"));
        }
        self.check_length(tokens.len())?;
        request.sampling.check(self.config.vocab)?;
        if request.max_tokens == Some(0) {
            return Err(Error::argument("max_tokens", "must not be 0"));
        }
        if request.stop.iter().any(String::is_empty) {
            return Err(Error::argument("stop", "holds an empty text, before which every answer would end"));
        }
        if self.tokenizer.is_none() && !request.stop.is_empty() {
            return Err(Error::argument("stop", "the model has no tokenizer, so its answer has no text"));
        }
        let forbidden = if request.ignore_eos { self.ends.clone() } else { Vec::new() };
        let logprobs = request.logprobs.map(|n| n.min(self.config.vocab));
        let answer = Answer {
            sampler: Sampler::new(request.sampling, forbidden, logprobs),
            tokenizer: self.tokenizer.clone(),
            stream: self.tokenizer.as_ref().map(Tokenizer::stream),
            stops: Stops::new(&request.stop),
            max_tokens: request.max_tokens.map_or(usize::MAX, |n| n as usize),
            on_token: request.on_token,
            on_done: request.on_done,
            text: String::new(),
            logprobs: Vec::new(),
        };
        let want = Want::Tokens(Box::new(answer));
        let mut sequence = Sequence::new(self.shared.ticket(), want, tokens, self.context as usize);
        sequence.effort = request.effort.unwrap_or_default();
        Ok(sequence)
    }

    pub(crate) fn start(&self, mut sequence: Sequence, session: Option<SessionLink>) -> Result<Generation> {
        sequence.session = session;
        let ticket = Arc::clone(&sequence.ticket);
        self.shared.submit(vec![sequence])?;
        Ok(Generation::new(ticket))
    }

    /// A sequence that is only read.
    pub(crate) fn bare(&self, want: Want, tokens: Vec<u32>) -> Result<Sequence> {
        self.check_ids(&tokens)?;
        if tokens.is_empty() || tokens.len() > self.context as usize {
            return Err(Error::argument(
                "ids",
                format!("{} tokens are not in 1 to {}", tokens.len(), self.context),
            ));
        }
        Ok(Sequence::new(self.shared.ticket(), want, tokens, self.context as usize))
    }

    /// Runs sequences that are only read, and waits for what they yield.
    pub(crate) fn values(&self, sequences: Vec<Sequence>) -> Result<Vec<Vec<f32>>> {
        self.values_watched(sequences, |_| ())
    }

    /// The same; `started` gets what cancels them.
    pub(crate) fn values_watched(
        &self,
        sequences: Vec<Sequence>,
        started: impl FnOnce(Vec<Canceller>),
    ) -> Result<Vec<Vec<f32>>> {
        let handles: Vec<Generation> =
            sequences.iter().map(|s| Generation::new(Arc::clone(&s.ticket))).collect();
        self.shared.submit(sequences)?;
        started(handles.iter().map(Generation::canceller).collect());
        handles
            .iter()
            .map(|handle| match handle.wait()? {
                Output { finish: super::Finish::Cancelled, .. } => {
                    Err(Error::new(Status::Cancelled, "it was cancelled, or the model was closed"))
                }
                output => Ok(output.values),
            })
            .collect()
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| **id >= self.config.vocab) {
            None => Ok(()),
            Some(id) => Err(Error::argument(
                "ids",
                format!("token {id} is outside the vocabulary of {}", self.config.vocab),
            )),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.close();
    }
}

fn load(
    tenant: &Arc<Tenant>,
    path: &Path,
    options: &ModelOptions,
    progress: Option<&mut dyn FnMut(LoadProgress) -> bool>,
) -> Result<Arc<Model>> {
    let file = ModelFile::open(path)?;
    let config = file.config().clone();
    let limits = options.resolve(tenant.device().kind(), config.context)?;
    let (tokenizer, template) = (file.tokenizer()?, file.chat_template()?);
    let node_version = tenant.node_version();
    let node = tenant.node()?;
    let ops = tenant.ops()?;
    let plan = Plan::new(&file, &*ops, options.exact_head)?;
    let threads = node.processors().clamp(1, 4) as usize;
    let mut silent = |_| true;
    let begun = Instant::now();
    let (weights, shared) = image(tenant, &file, &plan, &*ops, threads, progress.unwrap_or(&mut silent))?;
    let time = begun.elapsed();
    // A tenant with a part of L2 keeps the beginning of its weights there.
    tenant.refresh_streams()?;
    let kv = options.kv.unwrap_or_else(|| match file.tensor("blk.0.attn_q.weight") {
        Ok(view) if view.dtype == DType::F32 => DType::F32,
        _ => DType::F16,
    });
    let working = Working { tenant, config: &config, plan: &plan, ops: &*ops, weights: &weights, kv };
    let (net, scratch) = working.fit(&limits, options.prefill_rows.is_some())?;
    let activations = match &net {
        Net::Decoder { net, .. } => net.scratch(),
        Net::Encoder { net, .. } => net.scratch(),
    };
    let load = LoadStats {
        file_bytes: plan.source_bytes(),
        image_bytes: weights.image().bytes(),
        time,
        shared,
        bytes_per_second: if shared { 0.0 } else { plan.source_bytes() as f64 / time.as_secs_f64() },
        scratch_bytes: activations + scratch.bytes(),
    };
    let ends = tokenizer
        .as_ref()
        .map(|t| (0..config.vocab).filter(|id| t.is_end(*id)).collect())
        .unwrap_or_default();
    let engine = Arc::new(Shared::default());
    let held = Arc::downgrade(weights.image());
    let told = Arc::downgrade(&engine);
    tenant.when_lost(Box::new(move || {
        if let Some(engine) = told.upgrade() {
            engine.lose();
        }
    }));
    let worker = Worker::new(WorkerParts {
        shared: Arc::clone(&engine),
        tenant: Arc::clone(tenant),
        ops,
        units: node.units().to_vec(),
        node_version,
        net,
        vocab: config.vocab,
        dim: config.dim,
        scratch,
        max_sequences: limits.max_sequences as usize,
        weights,
    });
    let thread = std::thread::Builder::new()
        .name(format!("cw-{}", tenant.id()).chars().take(15).collect())
        .spawn(move || worker.run())
        .map_err(|e| Error::io("starting the model's thread", e))?;
    Ok(Arc::new(Model {
        tenant: Arc::clone(tenant),
        path: path.to_path_buf(),
        context: limits.context,
        kv,
        tokenizer,
        template,
        ends,
        load,
        parameters: file.parameters(),
        shared: engine,
        weights: held,
        thread: Mutex::new(Some(thread)),
        config,
    }))
}

/// The weight image in the tenant's space, and whether it was there before.
fn image(
    tenant: &Arc<Tenant>,
    file: &ModelFile,
    plan: &Plan,
    ops: &dyn Ops,
    threads: usize,
    progress: &mut dyn FnMut(LoadProgress) -> bool,
) -> Result<(SharedMapping, bool)> {
    let device = tenant.device();
    let bytes = plan.bytes().next_multiple_of(device.granularity());
    // Before any work: the mapping below is charged and may be refused, but a refusal should not cost a load.
    let account = tenant.account();
    let (held, limit) = (account.held(), account.limit());
    if held.saturating_add(bytes) > limit {
        return Err(Error::new(
            Status::QuotaExceeded,
            format!(
                "tenant `{}`: the weights want {bytes} bytes, {held} are held, the limit is {limit}",
                tenant.id()
            ),
        )
        .advise("raise the tenant's memory limit, or use a smaller or more quantized model"));
    }
    let mut filled = false;
    let key = format!("{}|image {IMAGE_VERSION}{}", file.key(), plan.variant());
    let image = memory::Shared::open(device, &key, bytes, &mut |base| {
        filled = true;
        plan.pack(file, ops, device, base, threads, progress)
    })?;
    let mapping = tenant.space().map_shared(&image, "weights").map_err(|e| e.within("weights"))?;
    Ok((mapping, !filled))
}

/// What working memory is made for.
struct Working<'a> {
    tenant: &'a Arc<Tenant>,
    config: &'a ModelConfig,
    plan: &'a Plan,
    ops: &'a dyn Ops,
    weights: &'a SharedMapping,
    kv: DType,
}

impl Working<'_> {
    /// Working memory for `limits`. Unless the caller fixed the rows of a step, they are halved until it fits.
    fn fit(&self, limits: &Limits, fixed: bool) -> Result<(Net, Scratch)> {
        let mut limits = *limits;
        loop {
            match self.make(&limits) {
                Err(error) if error.status() == Status::QuotaExceeded => {
                    let whole_texts = self.config.architecture.is_encoder();
                    if fixed || whole_texts || limits.prefill_rows / 2 < FEWEST_ROWS {
                        return Err(error.advise(
                            "raise the tenant's memory limit, or lower the options \
                            context or max_sequences",
                        ));
                    }
                    limits.prefill_rows /= 2;
                    limits.mixed_rows = limits.mixed_rows.min(limits.prefill_rows);
                }
                made => return made,
            }
        }
    }

    fn make(&self, limits: &Limits) -> Result<(Net, Scratch)> {
        let Working { config, plan, weights, .. } = self;
        let (space, device) = (self.tenant.space(), self.tenant.device());
        if config.architecture.is_encoder() {
            let rows = limits.prefill_rows.max(limits.context);
            let net = Encoder::new(config, plan, weights.base(), space, rows)?;
            let scratch = self.scratch(rows, limits.context)?;
            return Ok((Net::Encoder { net, rows }, scratch));
        }
        let tokens = limits.context.next_multiple_of(PAGE_TOKENS);
        let step = StepLimits {
            rows: limits.prefill_rows.max(limits.mixed_rows + limits.max_sequences),
            logits: limits.max_sequences + EXTRA_LOGITS,
            sequences: limits.max_sequences,
            table_width: tokens / PAGE_TOKENS,
            tokens,
        };
        let net = Decoder::new(config, plan, weights.base(), space, device, &step)?;
        let scratch = self.scratch(step.rows, tokens)?;
        let mut pages = self.pages(limits, tokens)?;
        // Refuse now what could never generate.
        let first = pages.take().map_err(|e| e.within("first page of the key/value cache"))?;
        pages.give([first]);
        let (prefill_rows, mixed_rows) = (limits.prefill_rows, limits.mixed_rows);
        Ok((Net::Decoder { net, pages, limits: step, prefill_rows, mixed_rows }, scratch))
    }

    /// Scratch of the operations.
    fn scratch(&self, rows: u32, tokens: u32) -> Result<Scratch> {
        let c = self.config;
        let cols = c.dim.max(c.ffn).max(c.heads * c.head_dim);
        let outputs = if c.architecture.is_encoder() { cols } else { cols.max(c.vocab) };
        let largest = LargestStep { rows, cols, outputs, tokens, heads: c.heads, head_dim: c.head_dim };
        Scratch::new(self.tenant.space(), largest, self.ops)
    }

    /// Addresses for the key/value cache: for all sequences at full length, as far as the device could ever hold them.
    fn pages(&self, limits: &Limits, tokens: u32) -> Result<Pages> {
        let c = self.config;
        let mut layout = KvLayout {
            base: 0,
            dtype: self.kv,
            page_tokens: PAGE_TOKENS,
            layers: c.layers,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
        };
        let (_, total) = self.tenant.device().memory()?;
        let all = layout.page_bytes() * u64::from(tokens / PAGE_TOKENS) * u64::from(limits.max_sequences);
        let most = all.min(total).max(layout.page_bytes());
        let region = self.tenant.space().region(most, "key/value cache")?;
        layout.base = region.base();
        Ok(Pages::new(region, layout))
    }
}
