//! A strict reader of Prometheus text (exposition format 0.0.4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Labels of a sample, `{` behind it already; and what follows.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        let equals = rest.find('=').expect("a label");
        let name = &rest[..equals];
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(
            !name.is_empty() && name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{name}"
        );
        rest = rest[equals + 1..].strip_prefix('"').expect("a quote");
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("the end of the value") {
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("the escape \\{c}"),
                },
                (at, '"') => break at,
                (_, '\n') => panic!("a line ends inside of a label"),
                (_, c) => value.push(c),
            }
        };
        assert!(found.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &rest[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (found, rest.strip_prefix('}').expect("the end of the labels")),
        }
    }
}

/// Name, labels and value of each sample.
pub type Samples = Vec<(String, BTreeMap<String, String>, f64)>;

/// Reads the exposition format strictly; samples by name.
pub fn parsed(text: &str) -> Samples {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families, mut seen) = (Samples::new(), HashMap::new(), BTreeSet::new());
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty() && !families.contains_key(name), "{name} begins twice");
            families.insert(name.to_owned(), String::new());
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows HELP");
            assert!(["counter", "gauge", "summary"].contains(&kind));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            families.insert(name.to_owned(), kind.to_owned());
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let name = &line[..end];
            let (labels, value) = match line[end..].strip_prefix('{') {
                Some(rest) => labels(rest),
                None => (BTreeMap::new(), &line[end..]),
            };
            let value: f64 = value.strip_prefix(' ').unwrap().replace("+Inf", "inf").parse().unwrap();
            let endings = if families[&current] == "summary" { &["", "_sum", "_count"][..] } else { &[""] };
            assert!(
                endings.iter().any(|e| name == format!("{current}{e}")),
                "{name} in the family {current}"
            );
            if families[&current] == "counter" {
                assert!(value >= 0.0, "{line}");
            }
            assert!(seen.insert((name.to_owned(), labels.clone())), "twice: {line}");
            samples.push((name.to_owned(), labels, value));
        }
    }
    samples
}
