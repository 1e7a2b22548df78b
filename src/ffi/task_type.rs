//! Kinds of tasks that the application registers with a bridge.

use super::bridge::get;
use super::callback::UserData;
use super::guard::{guard, out};
use super::map::{Map, export, lend};
use super::task::running;
use super::text::{optional_text, text};
use super::types::{cw_bridge, cw_drop_function, cw_map, cw_status, cw_task_type_function};
use crate::Error;
use crate::compute::TaskContext;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

/// Adds a kind of task under `name`: `cw_bridge_task_schedule` with this type then runs `function` as a task of the
/// LLM, with the task's parameters (those that every kind takes left out). It may run on several threads at a time.
/// The task's result is what it gives to `cw_task_set_result`. Names that exist are refused. `drop` runs once: when the
/// kind was unregistered, or the bridge shut down, and the last of its tasks has ended; at once when this call fails.
///
/// # Safety
/// `name` must be NUL-terminated; the function callable with `user_data` from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_task_type_register(
    bridge: *mut cw_bridge,
    name: *const c_char,
    function: cw_task_type_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_bridge_task_type_register", bridge, name, function, user_data, drop), || {
        // SAFETY: the caller's promise.
        let name = unsafe { text("name", name)? };
        let function = function.ok_or_else(|| Error::argument("function", "is NULL"))?;
        let call = move |context: &TaskContext, llm: &str, parameters: &Map| {
            let user = &user;
            let llm = CString::new(llm).map_err(|_| Error::argument("llm", "has a NUL inside"))?;
            lend(parameters.clone(), |map| {
                // SAFETY: the caller's promise; all arguments live until the function returns.
                running(context, |task| unsafe { function(user.data, task, llm.as_ptr(), map) })
            })
        };
        get(bridge)?.register_task_type(name, Arc::new(call))
    })
}

/// Takes a kind of task away that was registered. Its tasks that are scheduled already go on.
///
/// # Safety
/// `name` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_task_type_unregister(
    bridge: *mut cw_bridge,
    name: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_task_type_unregister", bridge, name), || {
        // SAFETY: the caller's promise.
        let name = unsafe { text("name", name)? };
        get(bridge)?.unregister_task_type(name)
    })
}

/// The kinds of tasks that there are, each with `own` or `registered`. Free the map.
///
/// # Safety
/// `types` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_task_types(
    bridge: *const cw_bridge,
    types: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_task_types", bridge, types), || {
        // SAFETY: the caller's promise.
        let types = unsafe { out("types", types)? };
        let origin = |name: &str| match crate::bridge::TASK_TYPES.contains(&name) {
            true => "own".to_owned(),
            false => "registered".to_owned(),
        };
        let all = get(bridge)?.task_types()?;
        *types = export(all.into_iter().map(|name| (name.clone(), origin(&name))).collect());
        Ok(())
    })
}

/// Tasks that have not ended, of LLM `llm` or (with `NULL`) of all: their ids, each with its state. Free the map.
///
/// # Safety
/// `llm` must be null or NUL-terminated, `tasks` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_active_tasks(
    bridge: *const cw_bridge,
    llm: *const c_char,
    tasks: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_active_tasks", bridge, llm, tasks), || {
        // SAFETY: the caller's promise.
        let (llm, tasks) = unsafe { (optional_text("llm", llm)?, out("tasks", tasks)?) };
        let active = get(bridge)?.active_tasks(llm)?;
        *tasks = export(active.into_iter().map(|t| (t.id, t.state.name().to_owned())).collect());
        Ok(())
    })
}
