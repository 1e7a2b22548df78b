//! Tasks across the border.

use super::callback::UserData;
use super::guard::{guard, input, out, struct_size};
use super::handle::Table;
use super::node::micros;
use super::tenant;
use super::text::{optional_text, text, write_text};
use super::types::{
    CW_OK, cw_drop_function, cw_status, cw_task, cw_task_config, cw_task_context, cw_task_function,
    cw_task_info, cw_tenant,
};
use crate::compute::{Priority, Task, TaskContext, TaskState, Tasks};
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

static TASKS: Table<cw_task, Task> = Table::new(3, "cw_task");

/// What a task's function reaches through its `cw_task_context`.
struct Running<'a> {
    context: &'a TaskContext,
    result: String,
}

/// Fills a task's configuration with defaults: a new id, normal priority, no needs.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_config_default(config: *mut cw_task_config) -> cw_status {
    guard(call!("cw_task_config_default", config), || {
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = cw_task_config {
            struct_size: size_of::<cw_task_config>(),
            id: std::ptr::null(),
            priority: Priority::Normal as i32,
            cores: 0,
            memory: 0,
        };
        Ok(())
    })
}

/// Schedules a function as a task of the tenant. It runs on a thread of Cogniware once the tenant has the memory and
/// the cores it asks for; what it returns other than `CW_OK` makes the task fail with the text it set. `config` may be
/// `NULL`. `drop` runs once, after the function, when the task is cancelled before it starts, or when scheduling
/// fails. Free the handle with `cw_task_free`.
///
/// # Safety
/// The function must be callable with `user_data` from another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_schedule(
    tenant: *mut cw_tenant,
    config: *const cw_task_config,
    function: cw_task_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    task: *mut *mut cw_task,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_task_schedule", tenant, config, function, user_data, drop, task), || {
        // SAFETY: the caller's promise.
        unsafe { schedule(&*tenant::get(tenant)?, config, function, user, task) }
    })
}

/// Schedules a function of the application as a task of `tenant`.
///
/// # Safety
/// As for `cw_task_schedule`.
pub(super) unsafe fn schedule(
    tenant: &Tenant,
    config: *const cw_task_config,
    function: cw_task_function,
    user: UserData,
    task: *mut *mut cw_task,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let task = unsafe { out("task", task)? };
    let function = function.ok_or_else(|| Error::argument("function", "is NULL"))?;
    let (mut id, mut priority, mut cores, mut memory) = (None, Priority::Normal, 0, 0);
    if !config.is_null() {
        // SAFETY: the caller's promise.
        let config = unsafe { input("config", config)? };
        struct_size::<cw_task_config>("config", config.struct_size)?;
        // SAFETY: the caller's promise.
        id = unsafe { optional_text("config.id", config.id)? }.map(str::to_owned);
        priority = Priority::from_number(config.priority)?;
        cores = config.cores;
        memory = config.memory;
    }
    let body = Box::new(move |context: &TaskContext| {
        let user = user;
        // SAFETY: the caller's promise; the context lives until the function returns.
        running(context, |task| unsafe { function(user.data, task) })
    });
    let scheduled = tenant.schedule(id, "function", priority, memory, cores, body)?;
    *task = export(scheduled);
    Ok(())
}

/// Calls a function of the application for a task that runs: its text becomes the result, or says what is wrong.
pub(super) fn running(
    context: &TaskContext,
    function: impl FnOnce(*mut cw_task_context) -> cw_status,
) -> Result<String> {
    let mut running = Running { context, result: String::new() };
    let status = function((&raw mut running).cast());
    if status == CW_OK {
        return Ok(running.result);
    }
    let text = match running.result {
        text if text.is_empty() => format!("the task's function returned {status}"),
        text => text,
    };
    let kind = if status == Status::Cancelled as i32 { Status::Cancelled } else { Status::Callback };
    Err(Error::new(kind, text))
}

/// Gives a task a handle.
pub(super) fn export(task: Task) -> *mut cw_task {
    TASKS.insert(Arc::new(task))
}

/// Sets the text of the running task: its result, or what is wrong when its function is about to return an error.
///
/// # Safety
/// `context` must be the one that the function got, and the function must not have returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_set_result(
    context: *mut cw_task_context,
    result: *const c_char,
) -> cw_status {
    guard(call!("cw_task_set_result", context, result), || {
        // SAFETY: the caller's promise: the pointer is the `Running` of the function's own call.
        let running = unsafe { out("context", context.cast::<Running>())? };
        // SAFETY: the caller's promise.
        running.result = unsafe { text("result", result)? }.to_owned();
        Ok(())
    })
}

/// Writes 1 to `*cancelled` when somebody asked for the end of the running task.
///
/// # Safety
/// `context` as for `cw_task_set_result`; `cancelled` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_is_cancelled(
    context: *mut cw_task_context,
    cancelled: *mut i32,
) -> cw_status {
    guard(call!("cw_task_is_cancelled", context, cancelled), || {
        // SAFETY: the caller's promise.
        let (running, cancelled) = unsafe {
            (input("context", context.cast_const().cast::<Running>())?, out("cancelled", cancelled)?)
        };
        *cancelled = i32::from(running.context.is_cancelled());
        Ok(())
    })
}

/// Another handle to the task with this id: waiting, running, or one of the last few thousand that ended.
///
/// # Safety
/// `id` must be NUL-terminated, `task` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_find(id: *const c_char, task: *mut *mut cw_task) -> cw_status {
    guard(call!("cw_task_find", id, task), || {
        // SAFETY: the caller's promise.
        let (id, task) = unsafe { (text("id", id)?, out("task", task)?) };
        *task = export(Tasks::global().get(id)?);
        Ok(())
    })
}

/// What is known of the task now. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_get_info(task: *const cw_task, info: *mut cw_task_info) -> cw_status {
    guard(call!("cw_task_get_info", task, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_task_info>("info", info.struct_size)?;
        let known = TASKS.get("task", task)?.info();
        *info = cw_task_info {
            struct_size: info.struct_size,
            state: match known.state {
                TaskState::Pending => super::types::CW_TASK_PENDING,
                TaskState::Running => super::types::CW_TASK_RUNNING,
                TaskState::Completed => super::types::CW_TASK_COMPLETED,
                TaskState::Failed => super::types::CW_TASK_FAILED,
                TaskState::Cancelled => super::types::CW_TASK_CANCELLED,
            },
            priority: known.priority as i32,
            status: known.status.map_or(CW_OK, |s| s as i32),
            cores: known.cores,
            memory: known.memory,
            created_us: micros(Some(known.created)),
            started_us: micros(known.started),
            finished_us: micros(known.finished),
            weight: known.weight,
            device_time_ns: known.device_time.as_nanos() as u64,
        };
        Ok(())
    })
}

/// The task's id, to the caller's buffer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_id(
    task: *const cw_task,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_task_id", task, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&TASKS.get("task", task)?.id(), buffer, length, needed) }
    })
}

/// The id of the task's tenant, to the caller's buffer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_tenant(
    task: *const cw_task,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_task_tenant", task, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&TASKS.get("task", task)?.info().tenant, buffer, length, needed) }
    })
}

/// What kind of work the task is (`function`, or a type of `cw_bridge_task_schedule`), to the caller's buffer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_type(
    task: *const cw_task,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_task_type", task, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&TASKS.get("task", task)?.info().kind, buffer, length, needed) }
    })
}

/// Changes the weight of the task's work (0.001 to 1000; 1 is normal), from now on. With 0.8 it gets 0.8 of the share
/// of contended processors that work of weight 1 of the same tenant would: at the gate, and beside other generations
/// of its model. A function's own code is weighed on the CPU device, by its thread's nice value; only a privileged
/// process can give back what was taken there, others get `CW_ERROR_UNSUPPORTED`. Before it starts, a task of more weight
/// comes before those of its tenant and priority that have not waited for so much longer. Refused when it has ended.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_set_weight(task: *const cw_task, weight: f64) -> cw_status {
    guard(call!("cw_task_set_weight", task, weight), || TASKS.get("task", task)?.set_weight(weight))
}

/// The task's result, or the text of its error; empty while it has not ended.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_result(
    task: *const cw_task,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_task_result", task, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&TASKS.get("task", task)?.info().result, buffer, length, needed) }
    })
}

/// Waits for the task's end, at most `timeout_ms` milliseconds (negative: without end); `CW_ERROR_TIMEOUT` when it has
/// not ended by then. How it ended is in `cw_task_get_info`.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_wait(task: *const cw_task, timeout_ms: i64) -> cw_status {
    guard(call!("cw_task_wait", task, timeout_ms), || {
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        TASKS.get("task", task)?.wait(timeout).map(drop)
    })
}

/// Asks for the task's end: what has not started never will, a running function is told. An error when it had ended.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_cancel(task: *const cw_task) -> cw_status {
    guard(call!("cw_task_cancel", task), || cancel(&*TASKS.get("task", task)?))
}

/// Cancels a task, or says that it had ended.
pub(super) fn cancel(task: &Task) -> Result<()> {
    if task.cancel() {
        return Ok(());
    }
    let info = task.info();
    Err(Error::new(Status::InvalidArgument, format!("task {:?} has ended: {}", info.id, info.state.name())))
}

/// Frees the handle; the task goes on. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_task_free(task: *mut cw_task) -> cw_status {
    guard(call!("cw_task_free", task), || TASKS.remove("task", task).map(drop))
}
