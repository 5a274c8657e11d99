//! `syrinx models`: which models are there, which are missing, and where those are published.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inspect::grouped;
use crate::checkpoint::store::{ModelsDirectory, PUBLISHED, Published, Verdict};
use crate::checkpoint::{Kind, identify};

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
pub fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    write(args, &mut std::io::stdout().lock())
}

/// [`run`] into any writer.
///
/// # Errors
/// As [`run`].
pub fn write(args: &ModelsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let directory = args.models.clone().map_or_else(ModelsDirectory::of_user, |root| Ok(ModelsDirectory::new(root)))?;
    let listing = list(&directory, args.verify);
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&listing)?)?;
        return Ok(());
    }
    text(&listing, out)
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

fn text(listing: &Listing, out: &mut impl Write) -> anyhow::Result<()> {
    let note = if listing.exists { "" } else { " (does not exist yet)" };
    writeln!(out, "{}{note}", listing.directory.display())?;
    writeln!(out, "\nModels")?;
    for model in &listing.models {
        match &model.path {
            Some(path) => writeln!(out, "  {:<12}{}", model.name, path.display())?,
            None => writeln!(out, "  {:<12}missing ({})", model.name, model.purpose)?,
        }
        if model.path.is_none() {
            writeln!(out, "{:14}published: {}", "", model.published_at)?;
            if let Some(bytes) = model.published_bytes {
                let caution = if model.published_size_measured { "" } else { " (size from memory, not verified)" };
                writeln!(out, "{:14}{} bytes{caution}", "", grouped(bytes))?;
            }
        }
        if let Some(verified) = &model.verified {
            writeln!(out, "{:14}{verified}", "")?;
        }
    }
    writeln!(out, "  {:<12}inside the program (pitch, small and fast)", "swift")?;
    files("Voices", "no .pth or .safetensors in voices/ or weights/", &listing.voices, out)?;
    files("Indexes", "no .index in indexes/, logs/, voices/ or weights/", &listing.indexes, out)
}

fn files(title: &str, none: &str, rows: &[FileRow], out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "\n{title}")?;
    if rows.is_empty() {
        writeln!(out, "  {none}")?;
    }
    for row in rows {
        writeln!(out, "  {:<28}{:>14} bytes", row.name, grouped(row.bytes))?;
        if let Some(index) = &row.index {
            writeln!(out, "{:14}index: {}", "", index.display())?;
        }
        if let Some(verified) = &row.verified {
            writeln!(out, "{:14}{verified}", "")?;
        }
    }
    Ok(())
}
