//! Figures as Prometheus text (exposition format 0.0.4): help, type, samples, labels escaped, one family after another.

use super::profiler;
use std::fmt::Write;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles, sum and count.
    Summary,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Summary => "summary",
        }
    }
}

/// Text in the making.
#[derive(Default)]
pub struct Text {
    out: String,
}

/// The samples of one family.
pub struct Family<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Text {
    /// Begins a family. All its samples follow before the next one begins.
    pub fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Family<'_> {
        debug_assert_eq!(name.ends_with("_total"), kind == Type::Counter, "{name}");
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        Family { text: self, name }
    }

    /// A family with samples of one label `tenant`; left out when there are none.
    pub fn by_tenant(
        &mut self,
        name: &'static str,
        kind: Type,
        help: &str,
        values: impl IntoIterator<Item = (String, f64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let mut family = self.family(name, kind, help);
        for (tenant, value) in values {
            family.sample(&[("tenant", &tenant)], value);
        }
    }

    /// The text so far.
    pub fn finish(self) -> String {
        self.out
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.sample_of("", labels, value);
    }

    /// One sample of the family's name with an ending (`_sum`, `_count`).
    pub fn sample_of(&mut self, ending: &str, labels: &[(&str, &str)], value: f64) {
        let out = &mut self.text.out;
        let _ = write!(out, "{}{ending}", self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(out, "{}{label}=\"{text}\"", if at == 0 { "{" } else { "," });
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let value = match value {
            v if v.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            v => v.to_string(),
        };
        let _ = writeln!(out, " {value}");
    }
}

/// The profiler's own figures.
pub fn profile(text: &mut Text) {
    let list = profiler::figures_by_tenant();
    let counts = profiler::counts();
    text.family("cogniware_profiler_enabled", Type::Gauge, "1 while anybody's work is recorded.")
        .sample(&[], f64::from(u8::from(profiler::is_recording())));
    for (name, help, value) in [
        ("cogniware_profiler_records_total", "Records in the figures since the last reset.", counts.records),
        ("cogniware_profiler_dropped_events_total", "Events that a trace no longer holds.", counts.dropped),
        ("cogniware_profiler_lost_records_total", "Device work whose time could not be read.", counts.lost),
    ] {
        text.family(name, Type::Counter, help).sample(&[], value as f64);
    }
    if list.is_empty() {
        return;
    }
    let labels = |f: &profiler::Figures| {
        [("tenant", f.tenant.clone()), ("kind", f.kind.name().to_owned()), ("name", f.name.clone())]
    };
    let mut family = text.family(
        "cogniware_profile_duration_seconds",
        Type::Summary,
        "Time of kernels, copies, steps, tasks and waits while the profiler records.",
    );
    for f in &list {
        let own = labels(f);
        let borrowed = || own.iter().map(|(k, v)| (*k, v.as_str()));
        for (quantile, value) in [("0.5", f.p50), ("0.99", f.p99)] {
            let all: Vec<_> = borrowed().chain([("quantile", quantile)]).collect();
            family.sample(&all, value);
        }
        let all: Vec<_> = borrowed().collect();
        family.sample_of("_sum", &all, f.total);
        family.sample_of("_count", &all, f.count as f64);
    }
    let mut only = |name, kind, help: &str, value: &dyn Fn(&profiler::Figures) -> Option<f64>| {
        let some: Vec<_> = list.iter().filter_map(|f| Some((f, value(f)?))).collect();
        if some.is_empty() {
            return;
        }
        let mut family = text.family(name, kind, help);
        for (f, value) in some {
            let own = labels(f);
            let all: Vec<_> = own.iter().map(|(k, v)| (*k, v.as_str())).collect();
            family.sample(&all, value);
        }
    };
    only(
        "cogniware_profile_bytes_total",
        Type::Counter,
        "Bytes that recorded work moved, where known.",
        &|f| (f.bytes > 0).then_some(f.bytes as f64),
    );
    only("cogniware_profile_tokens_total", Type::Counter, "Tokens of recorded steps.", &|f| {
        (f.items > 0).then_some(f.items as f64)
    });
    only("cogniware_profile_occupancy_ratio", Type::Gauge, "Busy part of the processors, 0 to 1.", &|f| {
        f.occupancy
    });
    only("cogniware_profile_min_seconds", Type::Gauge, "The shortest time.", &|f| Some(f.min));
    only("cogniware_profile_max_seconds", Type::Gauge, "The longest time.", &|f| Some(f.max));
}
