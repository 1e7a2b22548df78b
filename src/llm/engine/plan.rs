//! Forms a step: which tokens of which sequences are its rows.

use super::{Net, Sequence, Want, Worker};
use crate::Error;
use crate::llm::config::Pooling;
use std::ops::Range;

/// The smallest bound on positions that steps are formed for; bounds are powers of two, so that recorded steps fit
/// many lengths.
const SMALLEST_BOUND: u32 = 256;

/// A run of tokens of one sequence within a step.
pub(super) struct Part {
    /// Which running sequence.
    pub at: usize,
    /// Tokens `start..start + count` of it.
    pub start: usize,
    pub count: usize,
    /// Lines of the logits that are its own.
    pub logits: Range<usize>,
    /// Lines of the downloaded vectors that are its own.
    pub hidden: Range<usize>,
}

/// The rows of a step of a decoder.
#[derive(Default)]
pub(super) struct Step {
    pub parts: Vec<Part>,
    pub ids: Vec<i32>,
    pub positions: Vec<i32>,
    /// Line of the table of pages of each row.
    pub lines: Vec<i32>,
    /// One line a part.
    pub tables: Vec<i32>,
    pub table_width: u32,
    /// No position is at or beyond this.
    pub bound: u32,
    /// Rows whose logits are wanted, then rows whose vectors are.
    pub index: Vec<i32>,
    pub logits: usize,
    /// Every row makes a token: the shape of the step repeats and may be recorded.
    pub pure: bool,
}

/// What the step can still hold.
struct Room {
    rows: usize,
    logits: usize,
}

impl Worker {
    /// Plans the next step of a decoder. `None` when nobody got a page; the error says why.
    pub(super) fn plan(&mut self) -> Result<Step, Option<Error>> {
        let Net::Decoder { limits, prefill_rows, mixed_rows, .. } = &self.net else { return Err(None) };
        let (limits, prefill_rows, mixed_rows) = (*limits, *prefill_rows as usize, *mixed_rows as usize);
        let mut step = Step { pure: true, ..Step::default() };
        let mut refused = None;
        let mut room = Room { rows: limits.rows as usize, logits: limits.logits as usize };
        let mut turn = self.whose_turn();
        if turn.iter().any(|t| !t) {
            let drawing = |worker: &Worker, at: usize| turn[at] && worker.running[at].is_decoding();
            let goes = |w: &mut Worker, at| drawing(w, at) && w.hold(at, w.running[at].tokens.len()).is_ok();
            if !(0..turn.len()).any(|at| goes(self, at)) {
                // Whoever's turn it is has no room: then it is everybody's.
                turn.fill(true);
            }
        }
        for (at, turn) in turn.into_iter().enumerate() {
            if turn && self.running[at].is_decoding() {
                match self.hold(at, self.running[at].tokens.len()) {
                    Ok(()) => self.place(&mut step, &mut room, at, 1),
                    Err(error) => refused = Some(error),
                }
            }
        }
        let budget = if step.parts.is_empty() { prefill_rows } else { mixed_rows };
        room.rows = room.rows.min(budget);
        for at in 0..self.running.len() {
            if self.running[at].is_decoding() {
                continue;
            }
            let mut count = self.running[at].pending().min(room.rows);
            if self.wants_all_logits(at) {
                // One line is left for each of those that may still follow.
                let others = self.running.len() - 1 - step.parts.len();
                count = count.min(room.logits.saturating_sub(others));
            }
            if count == 0 {
                continue;
            }
            if let Err(error) = self.hold(at, self.running[at].cached + count) {
                count = count.min(self.held(at).saturating_sub(self.running[at].cached));
                refused = Some(error);
            }
            if count > 0 {
                step.pure = false;
                self.place(&mut step, &mut room, at, count);
            }
        }
        if step.parts.is_empty() {
            return Err(refused);
        }
        self.finish_plan(&mut step);
        Ok(step)
    }

    /// Which of the decoding sequences draw a token in this step: the one of most weight in each, others as often as
    /// their weight is a part of its.
    fn whose_turn(&mut self) -> Vec<bool> {
        let decoding = || self.running.iter().filter(|s| s.is_decoding()).map(|s| s.effort.weight());
        let (most, least) = (decoding().fold(0.0, f64::max), decoding().fold(f64::INFINITY, f64::min));
        if least >= most {
            return vec![true; self.running.len()];
        }
        let takes = |sequence: &mut Sequence| {
            sequence.credit += sequence.effort.weight() / most;
            let turn = sequence.credit >= 1.0 - 1e-9;
            sequence.credit -= f64::from(u8::from(turn));
            turn
        };
        self.running.iter_mut().map(|s| s.is_decoding() && takes(s)).collect()
    }

    /// Makes sure that the sequence has pages for so many tokens; takes those of idle sessions when there is no other.
    fn hold(&mut self, at: usize, tokens: usize) -> crate::Result<()> {
        loop {
            let Net::Decoder { pages, .. } = &mut self.net else { return Ok(()) };
            let needed = tokens.div_ceil(pages.layout().page_tokens as usize);
            if self.running[at].pages.len() >= needed {
                return Ok(());
            }
            match pages.take() {
                Ok(page) => self.running[at].pages.push(page),
                Err(error) => {
                    if !self.evict_idle() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Tokens that the sequence's pages hold.
    fn held(&self, at: usize) -> usize {
        let Net::Decoder { pages, .. } = &self.net else { return 0 };
        self.running[at].pages.len() * pages.layout().page_tokens as usize
    }

    /// Adds the next `count` tokens of a sequence to the step.
    fn place(&self, step: &mut Step, room: &mut Room, at: usize, count: usize) {
        let sequence = &self.running[at];
        let (start, end) = (sequence.cached, sequence.cached + count);
        let line = step.parts.len() as i32;
        for position in start..end {
            step.ids.push(sequence.tokens[position] as i32);
            step.positions.push(position as i32);
            step.lines.push(line);
        }
        let logits = logits_wanted(sequence, end, count);
        step.parts.push(Part { at, start, count, logits: step.logits..step.logits + logits, hidden: 0..0 });
        step.logits += logits;
        room.rows = room.rows.saturating_sub(count);
        room.logits = room.logits.saturating_sub(logits);
    }

    /// Fills in what depends on all parts.
    fn finish_plan(&self, step: &mut Step) {
        let Net::Decoder { pages, limits, .. } = &self.net else { return };
        let page_tokens = pages.layout().page_tokens;
        let longest = step.positions.iter().max().map_or(0, |p| *p as u32 + 1);
        step.bound = longest.next_power_of_two().max(SMALLEST_BOUND).min(limits.tokens);
        step.table_width = step.bound.div_ceil(page_tokens);
        let mut hidden = 0;
        let mut row = 0;
        let mut vectors = Vec::new();
        for part in &mut step.parts {
            let sequence = &self.running[part.at];
            let mut line: Vec<i32> =
                sequence.pages.iter().take(step.table_width as usize).map(|p| *p as i32).collect();
            line.resize(step.table_width as usize, 0);
            step.tables.extend(line);
            let last = row + part.count;
            step.index.extend((last - part.logits.len()..last).map(|row| row as i32));
            let rows = vectors_wanted(sequence, part.start, part.count);
            part.hidden = hidden..hidden + rows.len();
            hidden += rows.len();
            vectors.extend(rows.map(|at| (row + at) as i32));
            row += part.count;
        }
        step.index.extend(vectors);
    }
}

/// How many of the last rows of a part yield logits that somebody wants.
fn logits_wanted(sequence: &Sequence, end: usize, count: usize) -> usize {
    match sequence.want {
        Want::Tokens(_) => usize::from(end == sequence.tokens.len()),
        Want::Logits => count,
        Want::Pooled(_) | Want::Vectors => 0,
    }
}

/// Which rows of a part (from 0) yield vectors that somebody wants.
pub(super) fn vectors_wanted(sequence: &Sequence, start: usize, count: usize) -> Range<usize> {
    match sequence.want {
        Want::Tokens(_) | Want::Logits => 0..0,
        Want::Vectors | Want::Pooled(Pooling::Mean) => 0..count,
        Want::Pooled(Pooling::Cls) => 0..usize::from(start == 0),
        Want::Pooled(Pooling::Last) if start + count == sequence.tokens.len() => count - 1..count,
        Want::Pooled(Pooling::Last) => 0..0,
    }
}
