//! `syrinx models`: which models are there, which are missing, and where those are published.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inspect::grouped;
use crate::checkpoint::store::{ModelsDirectory, PUBLISHED, Published, Verdict};
use crate::checkpoint::{Kind, identify};
use crate::error::Result;

/// Arguments of `syrinx models`.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelsArgs {
    /// Look here instead of `$SYRINX_MODELS` or the user's data directory
    #[arg(long, value_name = "FOLDER")]
    pub models: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Compare hashes with the published files and check the content of every file
    #[arg(long)]
    pub verify: bool,
}

/// One published model.
#[derive(Debug, Serialize)]
struct ModelRow {
    name: &'static str,
    purpose: &'static str,
    path: Option<PathBuf>,
    bytes: Option<u64>,
    published_at: &'static str,
    published_bytes: Option<u64>,
    published_size_measured: bool,
    /// `genuine`, `different`, `unknown` (no hash is known), or what is wrong; absent unless asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<String>,
}

/// One voice or index of the directory.
#[derive(Debug, Serialize)]
struct FileRow {
    name: String,
    path: PathBuf,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listing {
    directory: PathBuf,
    exists: bool,
    models: Vec<ModelRow>,
    voices: Vec<FileRow>,
    indexes: Vec<FileRow>,
}

/// Prints the models directory.
///
/// # Errors
/// There is no directory to look in, or output is refused. Damaged files are reported, not errors.
pub fn run(args: &ModelsArgs) -> Result<()> {
    super::print(&describe(args)?)
}

/// What [`run`] prints, without the last line end.
///
/// # Errors
/// There is no directory to look in.
pub fn describe(args: &ModelsArgs) -> Result<String> {
    let directory = args.models.clone().map_or_else(ModelsDirectory::of_user, |root| Ok(ModelsDirectory::new(root)))?;
    let listing = list(&directory, args.verify);
    Ok(if args.json { format!("{:#}", serde_json::json!(listing)) } else { text(&listing) })
}

fn list(directory: &ModelsDirectory, verify: bool) -> Listing {
    let model = |model: &'static Published| {
        let path = directory.find(model);
        ModelRow {
            name: model.name,
            purpose: model.purpose,
            bytes: path.as_deref().map(length),
            published_at: model.source,
            published_bytes: model.bytes,
            published_size_measured: model.measured,
            verified: path.as_deref().filter(|_| verify).map(|path| verdict(directory, model, path)),
            path,
        }
    };
    let file = |path: PathBuf, kind: Kind| FileRow {
        name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: length(&path),
        index: if kind == Kind::Voice { directory.index_of(&path) } else { None },
        verified: verify.then(|| content(&path, kind)),
        path,
    };
    Listing {
        directory: directory.root().to_owned(),
        exists: directory.root().is_dir(),
        models: PUBLISHED.iter().map(model).collect(),
        voices: directory.voices().into_iter().map(|path| file(path, Kind::Voice)).collect(),
        indexes: directory.indexes().into_iter().map(|path| file(path, Kind::Index)).collect(),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

fn verdict(directory: &ModelsDirectory, model: &Published, path: &Path) -> String {
    if let Err(error) = identify(path) {
        return error.to_string();
    }
    match directory.verify(model, path) {
        Ok(Verdict::Genuine) => "genuine".into(),
        Ok(Verdict::Different) => "different from the published file".into(),
        Ok(Verdict::Unknown) => "unknown: no published hash to compare with".into(),
        Err(error) => error.to_string(),
    }
}

/// Whether a file is of its kind.
fn content(path: &Path, kind: Kind) -> String {
    match identify(path) {
        Ok(found) if found == kind => "readable".into(),
        Ok(found) => format!("not of this kind: {}", found.name()),
        Err(error) => error.to_string(),
    }
}

fn text(listing: &Listing) -> String {
    let note = if listing.exists { "" } else { " (does not exist yet)" };
    let mut lines = vec![format!("{}{note}", listing.directory.display()), "\nModels".into()];
    for model in &listing.models {
        if let Some(path) = &model.path {
            lines.push(format!("  {:<12}{}", model.name, path.display()));
        } else {
            lines.push(format!("  {:<12}missing ({})", model.name, model.purpose));
            lines.push(format!("{INDENT}published: {}", model.published_at));
            lines.extend(model.published_bytes.map(|bytes| {
                let caution = if model.published_size_measured { "" } else { " (size from memory, not verified)" };
                format!("{INDENT}{} bytes{caution}", grouped(bytes))
            }));
        }
        lines.extend(model.verified.as_ref().map(|verified| format!("{INDENT}{verified}")));
    }
    lines.push(format!("  {:<12}inside the program (pitch, small and fast)", "swift"));
    add_files("Voices", "no .pth or .safetensors in voices/ or weights/", &listing.voices, &mut lines);
    add_files("Indexes", "no .index in indexes/, logs/, voices/ or weights/", &listing.indexes, &mut lines);
    lines.join("\n")
}

/// Sets what is told about a model under its name.
const INDENT: &str = "              ";

fn add_files(title: &str, none: &str, rows: &[FileRow], lines: &mut Vec<String>) {
    lines.push(format!("\n{title}"));
    if rows.is_empty() {
        lines.push(format!("  {none}"));
    }
    for row in rows {
        lines.push(format!("  {:<28}{:>14} bytes", row.name, grouped(row.bytes)));
        lines.extend(row.index.as_ref().map(|index| format!("{INDENT}index: {}", index.display())));
        lines.extend(row.verified.as_ref().map(|verified| format!("{INDENT}{verified}")));
    }
}
