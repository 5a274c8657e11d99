//! `syrinx models`: which models are there, which are missing, and where those are published.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inspect::grouped;
#[cfg(feature = "default-voice")]
use crate::checkpoint::built_in;
use crate::checkpoint::catalogue::{PUBLISHED, Published, Verdict};
use crate::checkpoint::store::ModelsDirectory;
use crate::checkpoint::{Kind, identify};
use crate::error::{Error, Result};
use crate::nn::swift_f0;

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

/// One published model, or one that is part of the program.
#[derive(Clone, Debug, Serialize)]
struct ModelRow {
    name: &'static str,
    purpose: &'static str,
    path: Option<PathBuf>,
    bytes: Option<u64>,
    published_at: &'static str,
    published_bytes: Option<u64>,
    /// Whether it is part of the program.
    embedded: bool,
    /// `genuine`, `different`, `unknown` (no hash is known), or what is wrong; absent unless asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<String>,
    #[serde(skip)]
    sound: bool,
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
    #[serde(skip)]
    sound: bool,
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
/// There is no directory to look in, or output is refused; with `--verify`, once all is printed, [`Error::Format`] for
/// the first file that is not the published one or not of its kind.
pub fn run(args: &ModelsArgs) -> Result<()> {
    let listing = listing(args)?;
    super::print(&text_or_json(args, &listing))?;
    listing.first_unsound().map_or(Ok(()), Err)
}

/// What [`run`] prints, without the last line end.
///
/// # Errors
/// There is no directory to look in.
pub fn describe(args: &ModelsArgs) -> Result<String> {
    Ok(text_or_json(args, &listing(args)?))
}

fn listing(args: &ModelsArgs) -> Result<Listing> {
    let directory = args.models.clone().map_or_else(ModelsDirectory::of_user, |root| Ok(ModelsDirectory::new(root)))?;
    Ok(list(&directory, args.verify))
}

fn text_or_json(args: &ModelsArgs, listing: &Listing) -> String {
    if args.json { format!("{:#}", serde_json::json!(listing)) } else { text(listing) }
}

impl Listing {
    /// What is wrong with the first file whose verification failed.
    fn first_unsound(&self) -> Option<Error> {
        let models = self.models.iter().filter(|row| !row.sound).map(|row| (row.path.as_ref(), &row.verified));
        let files = self.voices.iter().chain(&self.indexes).filter(|row| !row.sound);
        let (path, verified) = models.chain(files.map(|row| (Some(&row.path), &row.verified))).next()?;
        let found = verified.as_deref().unwrap_or_default();
        Some(Error::format(path?, "a file that passes --verify", found))
    }
}

fn list(directory: &ModelsDirectory, verify: bool) -> Listing {
    let model = |model: &'static Published| {
        let path = directory.find(model);
        let verified = path.as_deref().filter(|_| verify).map(|path| verdict(model, path));
        ModelRow {
            name: model.name,
            purpose: model.purpose,
            bytes: path.as_deref().map(length),
            published_at: model.source,
            published_bytes: model.bytes,
            embedded: false,
            sound: verified.as_ref().is_none_or(|(_, sound)| *sound),
            verified: verified.map(|(verdict, _)| verdict),
            path,
        }
    };
    let swift_f0 = ModelRow {
        name: "swift",
        purpose: "pitch, small and fast",
        bytes: Some(swift_f0::WEIGHTS.len() as u64),
        published_at: "converted from the wheel swift-f0 0.3.0 on PyPI; inside the program",
        published_bytes: None,
        embedded: true,
        sound: true,
        verified: None,
        path: None,
    };
    #[cfg(feature = "default-voice")]
    let built_in = Some(ModelRow {
        name: built_in::NAME,
        purpose: "a voice, with an encoder and an index of its own",
        bytes: Some(built_in::bytes()),
        published_at: "models/default in the source; inside the program",
        ..swift_f0.clone()
    });
    #[cfg(not(feature = "default-voice"))]
    let built_in = None;
    let file = |path: PathBuf, kind: Kind| {
        let verified = verify.then(|| content(&path, kind));
        FileRow {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            bytes: length(&path),
            index: if kind == Kind::Voice { directory.index_of(&path) } else { None },
            sound: verified.as_ref().is_none_or(|(_, sound)| *sound),
            verified: verified.map(|(verdict, _)| verdict),
            path,
        }
    };
    Listing {
        directory: directory.root().to_owned(),
        exists: directory.root().is_dir(),
        models: PUBLISHED.iter().map(model).chain([swift_f0]).chain(built_in).collect(),
        voices: directory.voices().into_iter().map(|path| file(path, Kind::Voice)).collect(),
        indexes: directory.indexes().into_iter().map(|path| file(path, Kind::Index)).collect(),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

/// How a model compares with the published one, and whether that is in order.
fn verdict(model: &Published, path: &Path) -> (String, bool) {
    match model.verify(path) {
        Ok(Verdict::Genuine) => ("genuine".into(), true),
        Ok(Verdict::Short { found, expected }) => {
            let (found, expected) = (grouped(found), grouped(expected));
            (format!("cut short: {found} of {expected} bytes; fetch it again"), false)
        }
        Ok(Verdict::Different) => ("different from the published file".into(), false),
        Ok(Verdict::Unknown) => match identify(path) {
            Ok(_) => ("unknown: no published hash to compare with".into(), true),
            Err(error) => (error.to_string(), false),
        },
        Err(error) => (error.to_string(), false),
    }
}

/// Whether a file is of its kind.
fn content(path: &Path, kind: Kind) -> (String, bool) {
    match identify(path) {
        Ok(found) if found == kind => ("readable".into(), true),
        Ok(found) => (format!("not of this kind: {}", found.name()), false),
        Err(error) => (error.to_string(), false),
    }
}

fn text(listing: &Listing) -> String {
    let note = if listing.exists { "" } else { " (does not exist yet)" };
    let mut lines = vec![format!("{}{note}", listing.directory.display()), "\nModels".into()];
    for model in &listing.models {
        if model.embedded {
            lines.push(format!("  {:<12}inside the program ({})", model.name, model.purpose));
        } else if let Some(path) = &model.path {
            lines.push(format!("  {:<12}{}", model.name, path.display()));
        } else {
            lines.push(format!("  {:<12}missing ({})", model.name, model.purpose));
            lines.push(format!("{INDENT}published: {}", model.published_at));
            lines.extend(model.published_bytes.map(|bytes| format!("{INDENT}{} bytes", grouped(bytes))));
        }
        lines.extend(model.verified.as_ref().map(|verified| format!("{INDENT}{verified}")));
    }
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
