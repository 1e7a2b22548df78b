//! Who runs and who waits. Everything here is told the time, so that it can be simulated.

use super::super::share::Share;
use super::POLL;
use super::lease::{SLICE, Signal, Verdict};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) struct State {
    pub units: Vec<Unit>,
    pub waiting: Vec<Waiting>,
    pub running: Vec<Waiting>,
    next_ticket: u64,
}

#[derive(Clone, Default)]
pub(super) struct Unit {
    pub busy: bool,
    pub last_used: Option<SystemTime>,
    kept: Option<(Arc<Share>, Instant)>,
    /// The furthest virtual time of those who used it: where somebody new begins when nobody is there.
    clock: f64,
}

#[derive(Clone)]
pub(super) struct Waiting {
    pub ticket: u64,
    pub share: Arc<Share>,
    pub units: Vec<u32>,
    /// Of a lease.
    signal: Option<Arc<Signal>>,
}

impl Waiting {
    fn overlaps(&self, units: &[u32]) -> bool {
        self.units.iter().any(|u| units.contains(u))
    }
}

impl State {
    pub fn new(units: usize) -> State {
        State { units: vec![Unit::default(); units], waiting: vec![], running: vec![], next_ticket: 0 }
    }

    pub fn ticket(&mut self, share: &Arc<Share>, units: &[u32], signal: Option<&Arc<Signal>>) -> Waiting {
        self.next_ticket += 1;
        Waiting {
            ticket: self.next_ticket,
            share: share.clone(),
            units: units.to_vec(),
            signal: signal.cloned(),
        }
    }

    fn is_active(&self, share: &Arc<Share>) -> bool {
        self.running.iter().chain(&self.waiting).any(|a| Arc::ptr_eq(&a.share, share))
    }

    /// A tenant that was idle starts level with those of its priority that are active on the same units, or with whoever
    /// used them last: idleness saves nothing up.
    pub fn wake(&self, share: &Arc<Share>, units: &[u32], now: Instant) {
        let keeps =
            |u: &Unit| u.kept.as_ref().is_some_and(|(s, until)| *until > now && Arc::ptr_eq(s, share));
        if self.units.iter().any(keeps) || self.is_active(share) {
            return;
        }
        let mine = share.rank();
        let active = self.running.iter().chain(&self.waiting).filter(|a| a.overlaps(units));
        let ranks = active.map(|a| a.share.rank()).filter(|r| r.priority == mine.priority);
        let level = ranks.map(|r| r.virtual_time).min_by(f64::total_cmp);
        let clock = || units.iter().map(|&u| self.units[u as usize].clock).max_by(f64::total_cmp);
        share.come_back(level.or_else(clock).unwrap_or(0.0), now);
    }

    /// One of the share's permits or places is no more.
    pub fn gone(&self, share: &Arc<Share>, now: Instant) {
        if !self.is_active(share) {
            share.go_away(now);
        }
    }

    pub fn may_run(&self, me: &Waiting, now: Instant) -> bool {
        if me.share.capped(now).is_some() {
            return false;
        }
        let mine = me.share.rank();
        for &u in &me.units {
            let unit = &self.units[u as usize];
            let kept_for_other = unit.kept.as_ref().is_some_and(|(owner, until)| {
                !Arc::ptr_eq(owner, &me.share) && *until > now && owner.rank().before(&mine)
            });
            if unit.busy || kept_for_other {
                return false;
            }
        }
        // Whoever is before me on any of my units goes first, also when it still waits for others of its units:
        // otherwise a wide node would never get in past narrow ones. Who may not run by its cap keeps nobody out.
        !self.waiting.iter().any(|w| {
            w.ticket != me.ticket && w.overlaps(&me.units) && w.share.capped(now).is_none() && {
                let other = w.share.rank();
                other.before(&mine) || (!mine.before(&other) && w.ticket < me.ticket)
            }
        })
    }

    pub fn admit(&mut self, me: &Waiting) {
        self.waiting.retain(|w| w.ticket != me.ticket);
        for &u in &me.units {
            let unit = &mut self.units[u as usize];
            unit.busy = true;
            unit.last_used = Some(SystemTime::now());
            unit.kept = None;
        }
        self.running.push(me.clone());
        // Who waits already is seen by the first look at the verdict; until then the fast way is closed.
        if let Some(signal) = &me.signal
            && self.waiting.iter().any(|w| w.overlaps(&me.units))
        {
            signal.raise();
        }
    }

    /// Tells leases in my way that somebody waits.
    pub fn alert(&self, me: &Waiting, now: Instant) {
        if me.share.capped(now).is_some() {
            return;
        }
        for signal in self.running.iter().filter(|r| r.overlaps(&me.units)).filter_map(|r| r.signal.as_ref())
        {
            signal.raise();
        }
    }

    /// Its work was charged before.
    pub fn depart(&mut self, me: &Waiting, grace: Duration, now: Instant) {
        self.running.retain(|r| r.ticket != me.ticket);
        let rank = me.share.rank();
        let owed = self.waiting.iter().any(|w| w.overlaps(&me.units) && rank.before(&w.share.rank()));
        // Capped, it will not be back before its units are wanted by others.
        let owed = owed && me.share.capped(now).is_none();
        for &u in &me.units {
            let unit = &mut self.units[u as usize];
            unit.busy = false;
            unit.kept = owed.then(|| (me.share.clone(), now + grace));
            unit.clock = unit.clock.max(rank.virtual_time);
        }
        self.gone(&me.share, now);
    }

    /// Whether a lease that has used `ran` since it was given goes on.
    pub fn verdict(&self, me: &Waiting, ran: Duration, now: Instant) -> Verdict {
        if me.share.allowance(now).is_some_and(|a| a.is_zero()) {
            return Verdict::Capped;
        }
        let mine = me.share.rank();
        let mut verdict = Verdict::Alone;
        for w in self.waiting.iter().filter(|w| w.overlaps(&me.units) && w.share.capped(now).is_none()) {
            let other = w.share.rank();
            let first = match other.priority.cmp(&mine.priority) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    // It is owed a whole slice: it paused, and what it missed is not all lost.
                    let owed = (mine.virtual_time - other.virtual_time) * other.weight;
                    ran >= SLICE && !mine.before(&other) || owed >= SLICE.as_secs_f64()
                }
                std::cmp::Ordering::Greater => false,
            };
            if first {
                return Verdict::Due;
            }
            verdict = Verdict::Contended;
        }
        if let (Verdict::Alone, Some(signal)) = (verdict, &me.signal) {
            signal.calm();
        }
        verdict
    }

    /// How long to wait before looking again: until units that are kept for somebody else are free for all, or its cap
    /// lets it in.
    pub fn patience(&self, me: &Waiting, now: Instant) -> Duration {
        let kept = me.units.iter().filter_map(|&u| self.units[u as usize].kept.as_ref());
        let kept = kept.map(|(_, until)| until.saturating_duration_since(now));
        let soonest = kept.chain(me.share.capped(now)).filter(|d| !d.is_zero()).min();
        soonest.map_or(POLL, |d| d.min(POLL))
    }
}
