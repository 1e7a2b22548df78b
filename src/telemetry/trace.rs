//! A trace in the format of Chrome's tracing, which Perfetto (ui.perfetto.dev) opens: one process a tenant, one thread a
//! stream or host thread.

use super::file;
use super::profiler::store::{Event, Snapshot, snapshot};
use super::profiler::{self, Kind};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

/// Writes the last events (at most [`profiler::TRACE_EVENTS`]) to a file, replacing it at once when all is written; how many
/// events it holds. Recording goes on meanwhile.
///
/// Errors: what the file system says, with the path; then the file is as it was.
pub fn export(path: &Path) -> Result<u64> {
    if path.as_os_str().is_empty() {
        return Err(Error::argument("path", "is empty"));
    }
    profiler::collect();
    let snapshot = snapshot();
    file::replace(path, "the trace", true, |to| write(&snapshot, to))?;
    Ok(snapshot.events.len() as u64)
}

/// Writes a snapshot as JSON, event by event.
fn write(snapshot: &Snapshot, to: &mut dyn Write) -> io::Result<()> {
    let text = |id: u32| snapshot.names.get(id as usize).map_or("", |name| name.as_ref());
    // Numbers of processes: the tenants in the order of their names, work of nobody first.
    let tenants: BTreeSet<&str> = snapshot.events.iter().map(|e| text(e.tenant)).collect();
    let pids: BTreeMap<&str, usize> = tenants.iter().enumerate().map(|(at, name)| (*name, at + 1)).collect();
    let lanes: BTreeSet<(u32, u32)> = snapshot.events.iter().map(|e| (e.tenant, e.lane)).collect();
    write!(
        to,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"droppedEvents\":{}}},\"traceEvents\":[",
        snapshot.dropped
    )?;
    let mut first = true;
    let mut comma = |to: &mut dyn Write| -> io::Result<()> {
        let separator = if std::mem::take(&mut first) { "\n" } else { ",\n" };
        to.write_all(separator.as_bytes())
    };
    for (name, pid) in &pids {
        comma(to)?;
        let name = json(if name.is_empty() { "(no tenant)" } else { name });
        write!(
            to,
            "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{pid},\"tid\":0,\"args\":{{\"name\":{name}}}}}"
        )?;
    }
    for (tenant, lane) in lanes {
        comma(to)?;
        let (pid, name) = (pids[text(tenant)], json(snapshot.lanes.get(&lane).map_or("", |id| text(*id))));
        write!(
            to,
            "{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{pid},\"tid\":{lane},\"args\":{{\"name\":{name}}}}}"
        )?;
    }
    for (at, event) in snapshot.events.iter().enumerate() {
        let (pid, name) = (pids[text(event.tenant)], json(text(event.name)));
        let (kind, tid) = (event.kind.name(), event.lane);
        if event.kind == Kind::Wait {
            // Waits in one queue overlap, which the events of a thread must not.
            for (phase, ns) in [("b", event.start), ("e", event.start + event.duration)] {
                comma(to)?;
                let ts = Micros(ns);
                write!(
                    to,
                    "{{\"ph\":\"{phase}\",\"cat\":\"{kind}\",\"name\":{name},\"id\":{at},\"pid\":{pid},\"tid\":{tid},\"ts\":{ts}}}"
                )?;
            }
            continue;
        }
        comma(to)?;
        let (ts, dur) = (Micros(event.start), Micros(event.duration));
        write!(
            to,
            "{{\"ph\":\"X\",\"cat\":\"{kind}\",\"name\":{name},\"pid\":{pid},\"tid\":{tid},\"ts\":{ts},\"dur\":{dur},\"args\":{{"
        )?;
        arguments(event, to)?;
        to.write_all(b"}}")?;
    }
    to.write_all(b"\n]}\n")?;
    to.flush()
}

fn arguments(event: &Event, to: &mut dyn Write) -> io::Result<()> {
    let mut comma = "";
    if event.bytes > 0 {
        write!(to, "\"bytes\":{}", event.bytes)?;
        comma = ",";
        if event.duration > 0 {
            write!(to, ",\"gb_per_s\":{:.3}", event.bytes as f64 / event.duration as f64)?;
        }
    }
    if event.items > 0 {
        write!(to, "{comma}\"tokens\":{}", event.items)?;
        comma = ",";
    }
    if event.occupancy >= 0.0 {
        write!(to, "{comma}\"occupancy\":{:.4}", event.occupancy)?;
    }
    Ok(())
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Nanoseconds, shown as microseconds without loss.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
