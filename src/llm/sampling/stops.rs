//! Stop strings in a text that arrives in pieces.

/// Lets text through up to the first stop string, and holds back what may yet become one.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// A matcher for these strings; empty ones are ignored.
    pub fn new(stops: &[String]) -> Stops {
        Stops { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes more text. Returns the text that is certain to belong to the answer, and whether a stop string was
    /// completed; it and what follows it are dropped.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if self.stops.is_empty() {
            return (std::mem::take(&mut self.held), false);
        }
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            let mut certain = std::mem::take(&mut self.held);
            certain.truncate(at);
            return (certain, true);
        }
        let keep = self.longest_open_suffix();
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The text still held back, when no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes of the longest end of `held` that begins a stop string.
    fn longest_open_suffix(&self) -> usize {
        self.held
            .char_indices()
            .map(|(at, _)| &self.held[at..])
            .find(|suffix| self.stops.iter().any(|stop| stop.starts_with(suffix)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut matcher = Stops::new(&stops);
        let mut text = String::new();
        for piece in pieces {
            let (certain, hit) = matcher.push(piece);
            text.push_str(&certain);
            if hit {
                return (text, true);
            }
        }
        text.push_str(&matcher.finish());
        (text, false)
    }

    #[test]
    fn a_stop_string_split_over_pieces_is_found() {
        assert_eq!(feed(&["</s>"], &["abc<", "/", "s", ">def"]), ("abc".into(), true));
        assert_eq!(feed(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
    }

    #[test]
    fn text_that_only_began_like_a_stop_string_comes_out() {
        assert_eq!(feed(&["</s>"], &["abc<", "/x"]), ("abc</x".into(), false));
        assert_eq!(feed(&["</s>"], &["abc</s"]), ("abc</s".into(), false));
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            text in "[abü]{0,24}", stop in "[abü]{1,4}", cuts in proptest::collection::vec(0usize..25, 0..6)
        ) {
            let whole = match text.find(&stop) { Some(at) => (text[..at].to_string(), true), None => (text.clone(), false) };
            let mut bounds: Vec<usize> = cuts.into_iter().filter(|c| *c <= text.len() && text.is_char_boundary(*c)).collect();
            bounds.push(0);
            bounds.push(text.len());
            bounds.sort_unstable();
            let pieces: Vec<&str> = bounds.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(feed(&[&stop], &pieces), whole);
        }
    }
}
