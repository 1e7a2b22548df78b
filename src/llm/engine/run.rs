//! Runs a step through the gate and hands its results out.

use super::plan::{Part, Step, vectors_wanted};
use super::{Net, Sequence, Want, Worker};
use crate::compute::Gate;
use crate::llm::config::Pooling;
use crate::llm::net::buffer::{bytes_of, bytes_of_mut};
use crate::llm::net::decoder::Wanted;
use crate::llm::request::Finish;
use crate::ops::{Rows, StepTime, Upload};
use crate::telemetry::nvtx;
use crate::telemetry::profiler::{self, Kind, Place};
use crate::{Error, Result, Status};
use std::time::Duration;

impl Worker {
    /// Runs the next step of those in the batch.
    pub(super) fn step(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let (ran, parts, name) = match self.net {
            Net::Encoder { .. } => {
                let parts = self.gather_texts();
                (self.run_encoder(&parts), parts, "embed")
            }
            Net::Decoder { .. } => match self.plan() {
                Ok(step) => {
                    let name = self.name_of(&step);
                    (self.run_decoder(&step, name), step.parts, name)
                }
                Err(Some(error)) => return self.relieve(error),
                Err(None) => {
                    let error = Error::new(Status::Internal, "no sequence of the batch can go on");
                    return self.fail_running(&error);
                }
            },
        };
        match ran {
            Ok(time) => {
                let mut stats = self.shared.stats.lock();
                stats.steps += 1;
                stats.device_time += time.device;
                drop(stats);
                if profiler::on() {
                    self.note_step(name, time, &parts);
                }
                self.count(&parts, time.device);
                for part in parts {
                    self.deliver(&part);
                }
            }
            // Everybody left, or the model is being closed: the next round sees to it.
            Err(error) if error.status() == Status::Cancelled && self.all_cancelled() => {}
            Err(error) => {
                crate::telemetry::history::record(&error);
                let id = self.tenant.id();
                crate::log!(Warn, "model", "a step of tenant {id:?} failed: {error}");
                for part in parts {
                    self.running[part.at].finish(Finish::Error, Some(error.clone()));
                }
            }
        }
    }

    /// What the profiler calls a step.
    fn name_of(&self, step: &Step) -> &'static str {
        match (step.pure, step.parts.iter().any(|part| self.running[part.at].is_decoding())) {
            (true, _) => "decode",
            (false, true) => "mixed",
            (false, false) => "prefill",
        }
    }

    /// Tells the profiler of a step that ran.
    #[cold]
    fn note_step(&self, name: &'static str, time: StepTime, parts: &[Part]) {
        let Some(place) = Place::of(self.ops.stream().track()) else { return };
        let tokens = parts.iter().map(|part| part.count as u64).sum();
        let duration = time.device.as_nanos() as u64;
        // Begun before the profiler was switched on: only its end is known.
        let begun = if time.begun > 0 { time.begun } else { profiler::now().saturating_sub(duration) };
        place.record(Kind::Step, name, begun, duration, 0, tokens, None);
    }

    /// Runs `work` when the tenant's share allows, and charges the device time that it took.
    fn through_gate(
        &self,
        name: &'static str,
        parts: &[Part],
        work: impl FnOnce() -> Result<StepTime>,
    ) -> Result<StepTime> {
        let gate = Gate::of(self.tenant.device());
        let _range = if profiler::on() { nvtx::range(name) } else { None };
        let asked = if profiler::on() { profiler::now() } else { 0 };
        let permit = gate.enter(self.tenant.share(), &self.units, &|| self.all_cancelled())?;
        if asked > 0
            && let Some(place) = Place::of_thread(self.tenant.subject())
        {
            let waited = profiler::now().saturating_sub(asked);
            place.record(Kind::Wait, "gate", asked, waited, 0, 0, None);
        }
        let time = {
            // Memory of this tenant stays where it is while the step is queued and runs.
            let _door = self.tenant.space().door().enter()?;
            work()?
        };
        permit.finish_as(time.device, self.weight(parts));
        Ok(time)
    }

    /// The weight of a step: that of its rows, so that each counts against the tenant's share for what it weighs.
    fn weight(&self, parts: &[Part]) -> f64 {
        let rows: usize = parts.iter().map(|p| p.count).sum();
        let weighed: f64 = parts.iter().map(|p| p.count as f64 / self.running[p.at].effort.weight()).sum();
        if weighed > 0.0 { rows as f64 / weighed } else { 1.0 }
    }

    /// Divides a step's time between those that had rows in it.
    fn count(&self, parts: &[Part], time: Duration) {
        let rows: usize = parts.iter().map(|p| p.count).sum();
        for part in parts {
            let part_of_it = part.count as f64 / rows.max(1) as f64;
            self.running[part.at].effort.charge(time.mul_f64(part_of_it));
        }
    }

    fn run_decoder(&mut self, step: &Step, name: &'static str) -> Result<StepTime> {
        let mut logits = std::mem::take(&mut self.logits);
        let mut hidden = std::mem::take(&mut self.hidden);
        logits.resize(step.logits * self.vocab as usize, 0.0);
        hidden.resize((step.index.len() - step.logits) * self.dim as usize, 0.0);
        let Net::Decoder { net, pages, .. } = &self.net else { return Ok(StepTime::default()) };
        let rows = Rows {
            n: step.ids.len() as u32,
            positions: net.inputs.positions,
            sequences: net.inputs.sequences,
            tables: net.inputs.tables,
            table_width: step.table_width,
            max_tokens: step.bound,
        };
        let mut uploads: Vec<Upload<'_>> = vec![
            (net.inputs.ids, bytes_of(&step.ids)),
            (rows.positions, bytes_of(&step.positions)),
            (rows.sequences, bytes_of(&step.lines)),
            (rows.tables, bytes_of(&step.tables)),
        ];
        let wanted = if step.pure {
            Wanted::All
        } else {
            if !step.index.is_empty() {
                uploads.push((net.inputs.index, bytes_of(&step.index)));
            }
            Wanted::Picked { rows: step.index.len() as u32, logits: step.logits as u32 }
        };
        let key = step.pure.then(|| u64::from(rows.n) << 32 | u64::from(step.bound));
        let mut downloads = Vec::new();
        if !logits.is_empty() {
            downloads.push((bytes_of_mut(&mut logits), net.logits()));
        }
        if !hidden.is_empty() {
            let first = step.logits as u64 * u64::from(self.dim) * 4;
            downloads.push((bytes_of_mut(&mut hidden), net.hidden() + first));
        }
        let (ops, layout) = (&*self.ops, pages.layout());
        let ran = self.through_gate(name, &step.parts, || {
            ops.step(key, &uploads, &mut || net.forward(ops, &rows, layout, wanted), &mut downloads)
        });
        self.logits = logits;
        self.hidden = hidden;
        ran
    }

    /// Whole texts in order of arrival, as many as a step holds.
    fn gather_texts(&self) -> Vec<Part> {
        let Net::Encoder { rows, .. } = &self.net else { return Vec::new() };
        let (mut parts, mut used) = (Vec::new(), 0);
        for (at, sequence) in self.running.iter().enumerate() {
            let count = sequence.tokens.len();
            if used + count > *rows as usize {
                break;
            }
            parts.push(Part { at, start: 0, count, logits: 0..0, hidden: used..used + count });
            used += count;
        }
        parts
    }

    fn run_encoder(&mut self, parts: &[Part]) -> Result<StepTime> {
        let (mut ids, mut positions, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let mut starts = vec![0i32];
        for part in parts {
            let sequence = &self.running[part.at];
            ids.extend(sequence.tokens.iter().map(|id| *id as i32));
            positions.extend(0..part.count as i32);
            match sequence.types.is_empty() {
                true => types.resize(ids.len(), 0i32),
                false => types.extend(sequence.types.iter().map(|t| *t as i32)),
            }
            starts.push(ids.len() as i32);
        }
        let longest = parts.iter().map(|part| part.count).max().unwrap_or(0);
        let mut hidden = std::mem::take(&mut self.hidden);
        hidden.resize(ids.len() * self.dim as usize, 0.0);
        let Net::Encoder { net, .. } = &self.net else { return Ok(StepTime::default()) };
        let uploads: [Upload<'_>; 4] = [
            (net.inputs.ids, bytes_of(&ids)),
            (net.inputs.positions, bytes_of(&positions)),
            (net.inputs.types, bytes_of(&types)),
            (net.inputs.starts, bytes_of(&starts)),
        ];
        let ops = &*self.ops;
        let ran = self.through_gate("embed", parts, || {
            let mut body = || net.forward(ops, ids.len() as u32, parts.len() as u32, longest as u32);
            ops.step(None, &uploads, &mut body, &mut [(bytes_of_mut(&mut hidden), net.hidden())])
        });
        self.hidden = hidden;
        ran
    }

    /// Gives a part of the step's results to its sequence.
    fn deliver(&mut self, part: &Part) {
        let (vocab, dim) = (self.vocab as usize, self.dim as usize);
        let sequence = &mut self.running[part.at];
        sequence.cached += part.count;
        let read = sequence.cached.min(sequence.prompt) - part.start.min(sequence.prompt);
        let logits = &mut self.logits[part.logits.start * vocab..part.logits.end * vocab];
        let makes_token = matches!(sequence.want, Want::Tokens(_)) && !logits.is_empty();
        let mut stats = self.shared.stats.lock();
        stats.prompt_tokens += read as u64;
        stats.generated_tokens += u64::from(makes_token);
        drop(stats);
        let end = match &sequence.want {
            Want::Tokens(_) if makes_token => sequence.take(logits),
            Want::Tokens(_) => None,
            Want::Logits => {
                sequence.values.extend_from_slice(logits);
                (sequence.pending() == 0).then_some((Finish::Stop, None))
            }
            Want::Pooled(_) | Want::Vectors => {
                let mut lines = part.hidden.clone();
                if matches!(self.net, Net::Encoder { .. }) {
                    // All rows of an encoder come back; a decoder's were picked on the device.
                    let wanted = vectors_wanted(sequence, part.start, part.count);
                    lines = lines.start + wanted.start..lines.start + wanted.end;
                }
                pool(sequence, &self.hidden[lines.start * dim..lines.end * dim], dim)
            }
        };
        if let Some((finish, error)) = end {
            sequence.finish(finish, error);
        }
    }
}

/// Adds vectors to what the sequence is asked for. The end, when it has them all.
fn pool(sequence: &mut Sequence, vectors: &[f32], dim: usize) -> Option<(Finish, Option<Error>)> {
    if matches!(sequence.want, Want::Pooled(Pooling::Mean)) {
        sequence.sum.resize(dim, 0.0);
        for vector in vectors.chunks_exact(dim) {
            for (sum, x) in sequence.sum.iter_mut().zip(vector) {
                *sum += f64::from(*x);
            }
        }
    } else {
        sequence.values.extend_from_slice(vectors);
    }
    if sequence.pending() > 0 {
        return None;
    }
    let count = sequence.tokens.len() as f64;
    let means: Vec<f32> = sequence.sum.iter().map(|sum| (sum / count) as f32).collect();
    sequence.values.extend(means);
    Some((Finish::Stop, None))
}
