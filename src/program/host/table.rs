//! Host functions by name.

use super::{Calls, HostBody, HostFunction, ParameterKind};
use crate::program::names;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Host functions by name. Usable from any thread.
#[derive(Default)]
pub struct HostFunctions(Mutex<BTreeMap<String, Arc<HostFunction>>>);

impl HostFunctions {
    /// Registers a function.
    ///
    /// Errors: `InvalidArgument` for an empty name; `AlreadyExists`.
    pub fn register(
        &self,
        name: &str,
        parameters: Vec<ParameterKind>,
        calls: Calls,
        body: Arc<HostBody>,
    ) -> Result<Arc<HostFunction>> {
        if name.trim().is_empty() || name.contains('\0') {
            return Err(Error::argument("name", "is empty or holds a zero byte"));
        }
        let mut all = self.0.lock();
        if all.contains_key(name) {
            return Err(Error::new(
                Status::AlreadyExists,
                format!("a host function {name:?} is registered already"),
            )
            .advise("unregister it first"));
        }
        let function = Arc::new(HostFunction {
            name: name.to_owned(),
            parameters,
            calls,
            body,
            flying: AtomicUsize::new(0),
        });
        all.insert(name.to_owned(), function.clone());
        Ok(function)
    }

    /// Takes a function out. What somebody still holds of it (from [`HostFunctions::get`]) is dropped when they let go.
    ///
    /// Errors: `NotFound`; `Busy` while it is queued or runs: it stays then.
    pub fn unregister(&self, name: &str) -> Result<()> {
        let mut all = self.0.lock();
        let function = all.get(name).ok_or_else(|| unknown(name, &all))?;
        match function.in_flight() {
            0 => {
                let gone = all.remove(name);
                drop(all);
                // The application's own destructor runs with no lock held.
                drop(gone);
                Ok(())
            }
            n => {
                Err(Error::new(Status::Busy, format!("host function {name:?} has {n} executions in flight"))
                    .advise("synchronize the streams that run it, or cancel them, and try again"))
            }
        }
    }

    /// The function of this name.
    ///
    /// Errors: `NotFound`, with near names.
    pub fn get(&self, name: &str) -> Result<Arc<HostFunction>> {
        let all = self.0.lock();
        all.get(name).cloned().ok_or_else(|| unknown(name, &all))
    }

    /// The names of all, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

fn unknown(name: &str, all: &BTreeMap<String, Arc<HostFunction>>) -> Error {
    Error::not_found(format!("there is no host function {name:?}"))
        .advise(names::advice(name, all.keys().map(String::as_str)))
}
