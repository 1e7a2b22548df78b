//! Names that were meant: near names for errors, and the plain name inside of a mangled one.

/// Names of `known` that are near to `name`, nearest first, at most 3.
pub(super) fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let most = (wanted.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|k| {
            let other = k.to_lowercase();
            let part = wanted.len() >= 3 && (other.contains(&wanted) || wanted.contains(&other));
            let apart = distance(&wanted, &other);
            (part || apart <= most).then_some((apart, k))
        })
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Advice that lists near names, or else the first of all.
pub(super) fn advice<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let close = near(name, known.clone());
    if !close.is_empty() {
        return format!("did you mean {}?", close.join(", "));
    }
    let all: Vec<&str> = known.into_iter().collect();
    match all.len() {
        0 => "there is none".into(),
        n if n <= 12 => format!("there are {}", all.join(", ")),
        n => format!("there are {}, and {} more", all[..12].join(", "), n - 12),
    }
}

/// Changes of one letter that make the one text the other. Long texts are compared by their beginnings.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The function's own name in a name that a C++ compiler made: `_Z3addPfi` is `add`, `_ZN2ns3addEv` too. Templates and
/// what else is not plain: `None`.
pub(super) fn plain(mangled: &str) -> Option<&str> {
    let mut rest = mangled.strip_prefix("_Z")?;
    let nested = rest.strip_prefix('N');
    rest = nested.unwrap_or(rest);
    let mut last = None;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            break;
        }
        let length: usize = rest[..digits].parse().ok()?;
        let end = digits.checked_add(length)?;
        last = Some(rest.get(digits..end)?);
        rest = &rest[end..];
        if nested.is_none() {
            break;
        }
    }
    match (nested, rest.as_bytes().first()) {
        // A template's arguments: several kernels may have the name.
        (_, Some(b'I')) => None,
        (Some(_), first) if first != Some(&b'E') => None,
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let known = ["matrix_multiply", "softmax", "log_softmax", "relu"];
        assert_eq!(near("matrix_multply", known), ["matrix_multiply"]);
        assert_eq!(near("Softmax", known), ["softmax", "log_softmax"]);
        assert!(near("convolve", known).is_empty());
        assert!(advice("convolve", known).contains("there are matrix_multiply"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn plain_names_come_out_of_mangled_ones() {
        assert_eq!(plain("_Z3addPfi"), Some("add"));
        assert_eq!(plain("_ZN2ns3addEPf"), Some("add"));
        for other in ["add", "_Z3addIfEvPT_", "_Z99add", "_ZN2ns3add", "_Z", "_Z18446744073709551616x", ""] {
            assert_eq!(plain(other), None, "{other}");
        }
    }
}
