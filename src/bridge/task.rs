//! The tasks of LLMs: what kinds there are, what each takes, and how they run.

use super::config::{self, GENERATION_KEYS, Generating, Map};
use super::{Bridge, Llm, copying, multiply};
use crate::compute::{Effort, Priority, Task, TaskBody, TaskContext, TaskInfo, Tasks};
use crate::llm::{Canceller, EmbedOptions, Finish, Generation, Message, Prompt, Request};
use crate::tenant::{Tenant, keys};
use crate::{Error, Result, Status};
use std::sync::Arc;

/// Tokens of an answer when nothing is said.
pub(super) const DEFAULT_TOKENS: u32 = 128;

/// The kinds of tasks that every bridge knows.
pub const TASK_TYPES: [&str; 5] = ["inference", "embedding", "tokenize", "memory_copy", "matrix_multiply"];

/// Parameters that every kind of task takes.
const COMMON: [&str; 4] = ["task_type", "task_id", "priority", "weight"];

/// Work of a kind that the application registered: sees its task, the LLM's id and the task's parameters; returns the
/// task's result. Several may run at the same time.
pub type TaskFunction = Arc<dyn Fn(&TaskContext, &str, &Map) -> Result<String> + Send + Sync>;

/// What was said of a task beside what its kind takes.
struct Common {
    id: Option<String>,
    priority: Priority,
    weight: Option<f64>,
}

impl Common {
    /// Takes it out of the parameters.
    fn take(kind: &str, own: &mut Map) -> Result<Common> {
        if let Some(named) = own.get("task_type").filter(|named| *named != kind) {
            let text = format!("is {named:?} while the task's type is {kind:?}");
            return Err(Error::argument("task_type", text));
        }
        let common = Common {
            id: own.get("task_id").cloned(),
            priority: own.get("priority").map_or(Ok(Priority::Normal), |p| Priority::from_name(p))?,
            weight: keys::weight(own, "weight")?,
        };
        if let Some(weight) = common.weight {
            // Before anything is scheduled with it.
            Effort::default().set_weight(weight)?;
        }
        own.retain(|key, _| !COMMON.contains(&key.as_str()));
        Ok(common)
    }

    fn schedule(self, tenant: &Tenant, kind: &str, body: TaskBody) -> Result<Task> {
        let task = tenant.schedule(self.id, kind, self.priority, 0, 0, body)?;
        if let Some(weight) = self.weight {
            task.begin_with(weight)?;
        }
        Ok(task)
    }
}

impl Bridge {
    /// Schedules work of an LLM; its result is text. Every kind takes `task_type` (must be the kind itself), `task_id`,
    /// `priority` and `weight` (see [`Task::set_weight`]). Kinds:
    ///
    /// - `inference`: [`GENERATION_KEYS`] over the LLM's configuration; the result is the text.
    /// - `embedding`: `text`; a JSON array of numbers. `tokenize`: `text`; a JSON array of ids.
    /// - `memory_copy`: `source`, `destination` (addresses in the LLM's memory or its arrays), `bytes`; JSON with
    ///   `bytes`, `seconds`, `bytes_per_second`.
    /// - `matrix_multiply`: `a` (m × k), `b` (k × n), `c` (m × n): addresses of row-major f32; `m`, `n`, `k`;
    ///   `transpose` (`none`, `a`, `b`, `ab`: that one is stored the other way round); `dtype` (`f32`); JSON with
    ///   `device_seconds` and `flops`.
    /// - what [`Bridge::register_task_type`] added, with parameters of its own.
    ///
    /// For the first three an LLM that nobody registered is registered with defaults; the others need no model.
    pub fn schedule(&self, id: &str, kind: &str, parameters: &Map) -> Result<Task> {
        let mut own = parameters.clone();
        let common = Common::take(kind, &mut own)?;
        match kind {
            "inference" => {
                // Before anything is registered for it.
                config::check_keys(&own, &[&GENERATION_KEYS])?;
                config::generating(&own)?;
                let llm = self.llm_or_default(id)?;
                let request = request(llm.generating(&own)?);
                let tenant = llm.tenant().clone();
                common.schedule(&tenant, kind, Box::new(move |context| generate(&llm, request, context)))
            }
            "embedding" | "tokenize" => {
                let text = only_text(&own)?;
                let llm = self.llm_or_default(id)?;
                let tenant = llm.tenant().clone();
                let body: TaskBody = match kind {
                    "embedding" => Box::new(move |context| embed(&llm, text, context)),
                    _ => Box::new(move |_| {
                        let ids = llm.model().tokenizer()?.encode(&text, true, false)?;
                        Ok(serde_json::json!(ids).to_string())
                    }),
                };
                common.schedule(&tenant, kind, body)
            }
            "memory_copy" => {
                let copy = copying::Copy::read(&own)?;
                let tenant = self.tenant(id)?;
                copy.check(&tenant)?;
                let of = tenant.clone();
                let task = common.schedule(&tenant, kind, Box::new(move |context| copy.run(&of, context)))?;
                self.keep(task)
            }
            "matrix_multiply" => {
                let product = multiply::Product::read(&own)?;
                let tenant = self.tenant(id)?;
                product.check(&tenant)?;
                let of = tenant.clone();
                let task =
                    common.schedule(&tenant, kind, Box::new(move |context| product.run(&of, context)))?;
                self.keep(task)
            }
            other => {
                let function =
                    self.read(|s| Ok(s.types.get(other).cloned()))?.ok_or_else(|| self.unknown(other))?;
                let tenant = self.tenant(id)?;
                let llm = id.to_owned();
                let task =
                    common.schedule(&tenant, kind, Box::new(move |context| function(context, &llm, &own)))?;
                self.keep(task)
            }
        }
    }

    /// Adds a kind of task. The names of [`TASK_TYPES`] are taken, and so are those that were registered.
    pub fn register_task_type(&self, name: &str, function: TaskFunction) -> Result<()> {
        if name.is_empty() {
            return Err(Error::argument("name", "must not be empty"));
        }
        let taken =
            || Error::new(Status::AlreadyExists, format!("argument `name`: task type {name:?} exists"));
        if TASK_TYPES.contains(&name) {
            return Err(taken());
        }
        self.write(|s| {
            if s.types.contains_key(name) {
                return Err(taken());
            }
            s.types.insert(name.to_owned(), function);
            Ok(())
        })
    }

    /// Takes a kind of task away that was registered. Its tasks that are scheduled already go on.
    pub fn unregister_task_type(&self, name: &str) -> Result<()> {
        let removed = self.write(|s| Ok(s.types.remove(name)))?;
        // What it holds may be the application's: dropped here, without a lock.
        removed
            .map(drop)
            .ok_or_else(|| Error::not_found(format!("argument `name`: no task type {name:?} was registered")))
    }

    /// The kinds of tasks that there are.
    pub fn task_types(&self) -> Result<Vec<String>> {
        let own = self.read(|s| Ok(s.types.keys().cloned().collect::<Vec<_>>()))?;
        Ok(TASK_TYPES.iter().map(|name| (*name).to_owned()).chain(own).collect())
    }

    /// Tasks of an LLM that have not ended, oldest first; of all without an id.
    pub fn active_tasks(&self, id: Option<&str>) -> Result<Vec<TaskInfo>> {
        self.read(|_| Ok(Tasks::global().active(id)))
    }

    /// Notes a task that [`Bridge::shutdown`] has to end.
    fn keep(&self, task: Task) -> Result<Task> {
        let noted = self.write(|s| {
            s.note_task(&task);
            Ok(())
        });
        noted.inspect_err(|_| {
            // Shut down meanwhile: nobody else would end it.
            task.cancel();
        })?;
        Ok(task)
    }

    fn unknown(&self, kind: &str) -> Error {
        let known = self.task_types().unwrap_or_default().join(", ");
        Error::argument("taskType", format!("{kind:?} is not known")).advise(format!("known are {known}"))
    }
}

/// The engine's request for a way of generating.
pub fn request(how: Generating) -> Request {
    let prompt = match (how.prompt, how.chat) {
        (Some(text), true) => {
            let system = how.system.map(|s| Message::new("system", s));
            Prompt::Chat(system.into_iter().chain([Message::new("user", text)]).collect())
        }
        (text, _) => Prompt::Text(text.unwrap_or_default()),
    };
    Request {
        max_tokens: Some(how.max_tokens.unwrap_or(DEFAULT_TOKENS)),
        sampling: how.sampling,
        stop: how.stop,
        ignore_eos: how.ignore_eos,
        logprobs: how.logprobs,
        ..Request::new(prompt)
    }
}

fn generate(llm: &Llm, mut request: Request, context: &TaskContext) -> Result<String> {
    context.only_waits();
    request.effort = Some(context.effort().clone());
    let generation: Generation = llm.model().generate(request)?;
    let canceller = generation.canceller();
    context.on_cancel(move || canceller.cancel());
    let output = generation.wait()?;
    if output.finish == Finish::Cancelled {
        return Err(Error::new(Status::Cancelled, format!("cancelled after {} tokens", output.tokens.len())));
    }
    Ok(output.text)
}

fn embed(llm: &Llm, text: String, context: &TaskContext) -> Result<String> {
    context.only_waits();
    let cancels = |running: Vec<Canceller>| {
        context.on_cancel(move || running.iter().for_each(Canceller::cancel));
    };
    let options = EmbedOptions::default();
    let vectors = llm.model().embed_watched(&[text], &options, context.effort(), cancels)?;
    Ok(serde_json::json!(vectors[0]).to_string())
}

fn only_text(parameters: &Map) -> Result<String> {
    config::check_keys(parameters, &[&["text"]])?;
    parameters.get("text").cloned().ok_or_else(|| Error::argument("text", "is missing"))
}
