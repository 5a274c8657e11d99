//! `syrinx inspect`: what a file is.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checkpoint::{Summary, summarise};
use crate::error::Result;

/// Arguments of `syrinx inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Voices, encoders (files or folders), pitch networks or indexes
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print JSON, an object per file and line
    #[arg(long)]
    pub json: bool,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
}

/// Prints what each file is.
///
/// # Errors
/// The first file that cannot be read or is nothing Syrinx knows.
pub fn run(args: &InspectArgs) -> Result<()> {
    for file in &args.files {
        super::print(&describe(file, args)?)?;
    }
    Ok(())
}

/// What [`run`] prints about one file, without the last line end.
///
/// # Errors
/// The file cannot be read or is nothing Syrinx knows.
pub fn describe(file: &Path, args: &InspectArgs) -> Result<String> {
    let summary = summarise(file)?;
    Ok(if args.json { json(&summary, args.tensors).to_string() } else { text(&summary, args.tensors) })
}

/// One flat object: scripts read `.sample_rate_hz` whatever the kind.
fn json(summary: &Summary, with_tensors: bool) -> Value {
    let mut value = serde_json::json!(summary);
    if let Value::Object(map) = &mut value {
        map.remove("facts");
        if !with_tensors {
            map.remove("tensors");
        }
        map.extend(summary.facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    value
}

fn text(summary: &Summary, with_tensors: bool) -> String {
    let mut lines = vec![summary.path.clone()];
    let mut row = |key: &str, value: &str| lines.push(format!("  {key:<26}{value}"));
    row("kind", summary.kind);
    row("format", summary.format);
    for (key, value) in &summary.facts {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "yes".into(),
            Value::Bool(false) => "no".into(),
            Value::Null => "none".into(),
            other => other.to_string(),
        };
        row(&key.replace('_', " "), &value);
    }
    if summary.tensor_count > 0 {
        let mix: Vec<String> = summary.precisions.iter().map(|(name, count)| format!("{count} {name}")).collect();
        row("tensors", &format!("{} ({})", summary.tensor_count, mix.join(", ")));
        row("parameters", &grouped(summary.parameters as u64));
    }
    row("bytes", &grouped(summary.bytes));
    row("sha256", &summary.sha256);
    if with_tensors {
        let width = summary.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
        let tensors = summary.tensors.iter();
        lines.extend(tensors.map(|t| format!("  {:<width$}  {:<8}{:?}", t.name, t.precision, t.shape)));
    }
    lines.join("\n")
}

/// A count with its thousands set apart.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
