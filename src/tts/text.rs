//! Text in, sentences out, as early as it is certain that one has ended; long ones at their clauses.
//!
//! Boundaries are those of Unicode (UAX 29), which know the full stops of many scripts and the points within numbers;
//! abbreviations, initials and ordinals are put back together. A blank line always ends a sentence, a single line end is a
//! space.

use unicode_segmentation::UnicodeSegmentation;

/// Width from which a sentence is parted at a clause, in letters; an ideograph counts as three.
const LONG: usize = 180;
/// Least width of what is parted off.
const SHORTEST_CLAUSE: usize = 50;
/// Width of text without any end at which even a word boundary will do.
const LONGEST: usize = 360;

/// What ends a sentence only by accident, with its point left out, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "a.m", "abb", "al", "approx", "apt", "art", "av", "ave", "avda", "bd", "blvd", "bzw", "ca", "cf", "cap", "capt",
    "col", "dr", "dra", "drs", "d.h", "dott", "e.g", "ecc", "ed", "eng", "fig", "gen", "gov", "hr", "i.e", "ing", "jr",
    "lt", "m", "mlle", "mme", "mr", "mrs", "ms", "mt", "mtro", "p.ej", "p.ex", "pp", "prof", "profa", "rev", "sen",
    "sgt", "sig", "sr", "sra", "srta", "st", "sta", "sto", "str", "u.a", "usw", "v", "vgl", "vol", "vs", "z.b", "z. b",
];
/// The same where a number follows.
const BEFORE_NUMBERS: &[&str] = &["art", "ch", "fig", "n", "nr", "no", "nº", "num", "núm", "p", "pag", "pág"];

/// Gathers text and gives its sentences.
#[derive(Clone, Debug, Default)]
pub struct Sentences {
    pending: String,
}

impl Sentences {
    /// No text yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All sentences of a whole text.
    #[must_use]
    pub fn of(text: &str) -> Vec<String> {
        let mut sentences = Self::new();
        let mut found = sentences.push(text);
        found.extend(sentences.finish());
        found
    }

    /// Takes text in; returns what has become certain by it.
    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.pending.push_str(text);
        self.take(false)
    }

    /// Takes what is pending as ended: nothing more comes, or not soon.
    pub fn finish(&mut self) -> Vec<String> {
        self.take(true)
    }

    /// Whether text waits for its end.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.chars().any(char::is_alphanumeric)
    }

    fn take(&mut self, all: bool) -> Vec<String> {
        let text = joined_lines(&self.pending);
        let mut sentences = sentences(&text);
        // Only what follows tells whether the last has ended.
        let last = if all { None } else { sentences.pop() };
        let mut found = Vec::new();
        for sentence in sentences {
            clauses(sentence, true, &mut found);
        }
        self.pending = last.map_or_else(String::new, |last| clauses(last, false, &mut found).to_owned());
        found.iter_mut().for_each(|sentence| *sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" "));
        found.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
        found
    }
}

/// Runs of white space as one space, or as the end of a paragraph where a line is blank; a run at the end stays open.
fn joined_lines(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut run = String::new();
    for letter in text.chars() {
        if letter.is_whitespace() {
            run.push(letter);
            continue;
        }
        let ends = run.matches('\n').count() > 1 || run.contains('\u{2029}');
        match (run.is_empty(), ends) {
            (true, _) => {}
            (false, true) => joined.push('\u{2029}'),
            (false, false) => joined.push(' '),
        }
        run.clear();
        joined.push(letter);
    }
    joined + &run
}

/// The sentences of `text`, which together are all of it.
fn sentences(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let mut start = 0;
    let mut bounds = text.split_sentence_bound_indices().peekable();
    while let Some((at, piece)) = bounds.next() {
        let end = at + piece.len();
        let rest = &text[end..];
        if bounds.peek().is_none() || !goes_on(&text[start..end], rest) {
            found.push(&text[start..end]);
            start = end;
        }
    }
    found
}

/// Whether the sentence that seems to end with `sentence` goes on with `rest`.
fn goes_on(sentence: &str, rest: &str) -> bool {
    if sentence.ends_with('\u{2029}') {
        return false;
    }
    // A line end in a run that was left open.
    if sentence.trim_end().ends_with(|letter: char| letter.is_alphanumeric() || letter == ',') {
        return true;
    }
    let Some(before) = sentence.trim_end().strip_suffix('.') else { return false };
    let word = before.rsplit([' ', '(', '"', '\u{2029}', '\'', '«', '“']).next().unwrap_or_default().to_lowercase();
    let is_initial = word.chars().count() == 1 && before.ends_with(char::is_uppercase);
    let is_ordinal = !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit()) && word == before.trim();
    let number_follows = rest.starts_with(|letter: char| letter.is_ascii_digit());
    is_initial
        || is_ordinal
        || ABBREVIATIONS.contains(&word.as_str())
        || (number_follows && BEFORE_NUMBERS.contains(&word.as_str()))
}

/// Parts a long sentence, and returns what is left of it; nothing if it has `ended`.
fn clauses<'a>(mut sentence: &'a str, ended: bool, found: &mut Vec<String>) -> &'a str {
    while let Some(at) = first_clause(sentence) {
        found.push(sentence[..at].to_owned());
        sentence = &sentence[at..];
    }
    if !ended {
        return sentence;
    }
    found.push(sentence.to_owned());
    ""
}

/// Where a sentence that is too long is best parted for the first time: behind the last clause that still fits.
fn first_clause(sentence: &str) -> Option<usize> {
    let (mut width, mut best, mut last_word) = (0, None, None);
    let mut letters = sentence.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        width += width_of(letter);
        let end = at + letter.len_utf8();
        let space_follows = letters.peek().is_none_or(|(_, next)| next.is_whitespace());
        if (SHORTEST_CLAUSE..=LONG).contains(&width) {
            let is_clause = match letter {
                '、' | '，' | '；' | '：' | '،' | '؛' => true,
                ',' | ';' | ':' | '—' | '–' | ')' => space_follows,
                _ => false,
            };
            best = if is_clause { Some(end) } else { best };
        }
        if width <= LONGEST && (letter.is_whitespace() || width_of(letter) > 1) {
            last_word = Some(end);
        }
        // What is left must be worth saying, too.
        if let Some(best) = best
            && width > LONG
            && sentence[best..].chars().map(width_of).sum::<usize>() >= SHORTEST_CLAUSE / 2
        {
            return Some(best);
        }
        if width > LONGEST {
            return best.or(last_word);
        }
    }
    None
}

fn width_of(letter: char) -> usize {
    if matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}') { 3 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_people_end_them() {
        for (text, expected) in [
            ("Good morning. How are you? Fine!", &["Good morning.", "How are you?", "Fine!"][..]),
            ("Dr. Smith paid $3.50 to J. R. Doe. He left.", &["Dr. Smith paid $3.50 to J. R. Doe.", "He left."]),
            ("See p. 12 and No. 7. Then No. It is late.", &["See p. 12 and No. 7.", "Then No.", "It is late."]),
            ("1. Open it. 2. Close it.", &["1. Open it.", "2. Close it."]),
            ("O Sr. Silva chegou. Tudo bem?", &["O Sr. Silva chegou.", "Tudo bem?"]),
            ("Das ist z.B. ein Vogel. Er singt.", &["Das ist z.B. ein Vogel.", "Er singt."]),
            ("今日は晴れです。明日は雨です。", &["今日は晴れです。", "明日は雨です。"]),
            ("¿Qué? Nada.", &["¿Qué?", "Nada."]),
            ("هل أنت بخير؟ نعم.", &["هل أنت بخير؟", "نعم."]),
            ("One line\nof a sentence. A title\n\nIts text.", &["One line of a sentence.", "A title", "Its text."]),
            ("... !!! —", &[]),
        ] {
            assert_eq!(Sentences::of(text), expected, "{text}");
        }
    }

    #[test]
    fn text_letter_by_letter_gives_the_same_sentences_as_whole_text() {
        let text = "Dr. Smith has 3.5 birds. He said: \"They sing!\" Then he left.\n\nA title\n\n今日は。明日は。 Bye";
        let mut sentences = Sentences::new();
        let mut found: Vec<String> = text.chars().flat_map(|letter| sentences.push(&letter.to_string())).collect();
        found.extend(sentences.finish());
        assert_eq!(found, Sentences::of(text));
    }

    #[test]
    fn a_sentence_is_given_as_soon_as_the_next_begins() {
        let mut sentences = Sentences::new();
        assert!(sentences.push("It sings. ").is_empty());
        assert!(sentences.is_pending());
        assert_eq!(sentences.push("T"), ["It sings."]);
        assert_eq!(sentences.finish(), ["T"]);
        assert!(!sentences.is_pending());
    }

    #[test]
    fn a_long_sentence_is_parted_at_its_clauses_and_loses_no_word() {
        let clause = "where the windpipe forks and the air goes two ways at once, ";
        let text = clause.repeat(8) + "it sits";
        let parts = Sentences::of(&text);
        assert!(parts.len() >= 3, "{parts:?}");
        assert!(parts.iter().all(|part| part.len() <= LONG && part.len() >= 7), "{parts:?}");
        assert!(parts[..parts.len() - 1].iter().all(|part| part.ends_with(',')), "{parts:?}");
        assert_eq!(parts.join(" "), text);
        // Before its end has come.
        assert!(!Sentences::new().push(&text).is_empty());
    }

    #[test]
    fn text_without_any_mark_is_parted_between_words() {
        let text = "word ".repeat(200);
        let parts = Sentences::of(&text);
        assert!(parts.iter().all(|part| part.len() <= LONGEST + 5), "{parts:?}");
        assert_eq!(parts.join(" "), text.trim());
    }
}
