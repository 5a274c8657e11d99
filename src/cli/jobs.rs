//! Which recording becomes which file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, Result};
use crate::io::read::is_readable_name;
use crate::io::write::{Container, is_stream};

/// One recording to convert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The recording.
    pub input: PathBuf,
    /// Where its conversion goes.
    pub output: PathBuf,
    /// In which container.
    pub container: Container,
    /// The output's place below the folder of all outputs; its name, where there is one alone.
    pub place: PathBuf,
}

/// Pairs every recording in `inputs` with its output.
///
/// A folder stands for the recordings in it, at any depth; their outputs keep the relative places. `output` is a folder
/// if it is one already, ends in a separator, or more than one recording may come; else a file, whose extension names
/// the container unless `container` does. An output that exists is refused unless `force`; one that is also an input,
/// or that two inputs share, is refused always.
///
/// # Errors
/// [`Error::NotFound`] if an input is missing or no recording is found, [`Error::Argument`] for outputs as above.
pub fn plan(inputs: &[PathBuf], output: &Path, container: Option<Container>, force: bool) -> Result<Vec<Job>> {
    let into_folder =
        inputs.len() > 1 || inputs.iter().any(|input| input.is_dir()) || output.is_dir() || ends_in_separator(output);
    let mut jobs = Vec::new();
    if into_folder {
        if output.is_file() {
            return Err(Error::argument("--output", "a folder, for a folder or several inputs", output.display()));
        }
        let container = container.unwrap_or(Container::Wav);
        for input in inputs {
            for (found, place) in recordings(input, output)? {
                let place = place.with_extension(container.extension());
                jobs.push(Job { input: found, output: output.join(&place), container, place });
            }
        }
    } else if let [input] = inputs {
        let container = container.or_else(|| Container::of(output)).ok_or_else(|| {
            Error::argument("--output", "a name that ends in .wav or .flac, or --format", output.display())
        })?;
        for (found, _) in recordings(input, output)? {
            let place = output.file_name().map(PathBuf::from).unwrap_or_default();
            jobs.push(Job { input: found, output: output.into(), container, place });
        }
    }
    check_outputs(&jobs, force)?;
    Ok(jobs)
}

fn ends_in_separator(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(std::path::is_separator)
}

/// The recordings that `input` stands for, each with its place below the output folder, in order of their names.
fn recordings(input: &Path, output: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if !input.is_dir() {
        std::fs::metadata(input).map_err(|source| Error::io(input, source))?;
        return Ok(vec![(input.into(), input.file_name().map(PathBuf::from).unwrap_or_default())]);
    }
    let own_outputs = output.canonicalize().ok();
    let mut found = Vec::new();
    let walk = WalkDir::new(input).sort_by_file_name().into_iter();
    // Outputs of an earlier run may lie below the input folder.
    for entry in walk.filter_entry(|entry| entry.path().canonicalize().ok() != own_outputs || entry.depth() == 0) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(input).to_owned();
            Error::io(path, error.into())
        })?;
        if entry.file_type().is_file() && is_readable_name(entry.path()) {
            let place = entry.path().strip_prefix(input).unwrap_or(entry.path()).to_owned();
            found.push((entry.path().to_owned(), place));
        }
    }
    if found.is_empty() {
        let what = format!("a recording in {}", input.display());
        let hint = format!("its files should end in one of: {}", crate::io::read::READABLE_EXTENSIONS.join(", "));
        return Err(Error::NotFound { what, hint });
    }
    Ok(found)
}

/// Checks that files written beside the outputs, each with the argument that asks for it, are neither recordings nor
/// outputs nor each other.
///
/// # Errors
/// [`Error::Argument`] for the first that is.
pub fn check_others(jobs: &[Job], others: &[(&str, PathBuf)]) -> Result<()> {
    let files = jobs.iter().flat_map(|job| [(&job.input, "an input"), (&job.output, "an output")]);
    let mut taken: HashMap<PathBuf, &str> = files.map(|(path, role)| (place_of(path), role)).collect();
    for (argument, path) in others.iter().filter(|(_, path)| !is_stream(path)) {
        if let Some(role) = taken.insert(place_of(path), argument) {
            let expected = "a file that is nothing else of this run";
            return Err(Error::argument(argument, expected, format!("{}, {role}", path.display())));
        }
    }
    Ok(())
}

/// One spelling of a path, whether there is a file or not: what exists of it without links.
fn place_of(path: &Path) -> PathBuf {
    if let Ok(place) = path.canonicalize() {
        return place;
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    match path.file_name() {
        Some(name) if folder != path => place_of(folder).join(name),
        _ => path.to_owned(),
    }
}

fn check_outputs(jobs: &[Job], force: bool) -> Result<()> {
    let sources: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.input.canonicalize().ok()).collect();
    let mut taken: HashMap<&Path, &Path> = HashMap::new();
    for Job { input, output, .. } in jobs {
        if output.canonicalize().is_ok_and(|output| sources.contains(&output)) {
            return Err(Error::argument("--output", "another file than the inputs", output.display()));
        }
        if let Some(other) = taken.insert(output, input) {
            let found = format!("{} for both {} and {}", output.display(), other.display(), input.display());
            return Err(Error::argument("--output", "one output per input", found));
        }
        if output.exists() && !is_stream(output) && !force {
            let expected = "a file that does not exist yet, or --force";
            return Err(Error::argument("--output", expected, output.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_keeps_its_structure_and_skips_what_is_not_audio() {
        let folder = folder_with(&["in/a.wav", "in/deep/b.MP3", "in/notes.txt"]);
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        let jobs = plan(&[input], &output, Some(Container::Flac), false).unwrap();
        let outputs: Vec<_> = jobs.iter().map(|job| job.output.strip_prefix(&output).unwrap().to_owned()).collect();
        assert_eq!(outputs, [PathBuf::from("a.flac"), PathBuf::from("deep/b.flac")]);
    }

    #[test]
    fn outputs_of_an_earlier_run_below_the_input_folder_are_not_inputs() {
        let folder = folder_with(&["a.wav", "out/a.wav"]);
        let jobs = plan(&[folder.path().into()], &folder.path().join("out"), None, true).unwrap();
        assert_eq!(jobs.len(), 1);
    }

    #[test]
    fn one_file_goes_where_its_name_says() {
        let folder = folder_with(&["a.ogg"]);
        let input = folder.path().join("a.ogg");
        let job = |output: &str, container| plan(std::slice::from_ref(&input), Path::new(output), container, false);
        assert_eq!(job("new.flac", None).unwrap()[0].container, Container::Flac);
        assert_eq!(job("new.flac", Some(Container::Wav)).unwrap()[0].container, Container::Wav);
        assert_eq!(job("new/", None).unwrap()[0].output, PathBuf::from("new/a.wav"));
        assert_eq!(job("new.mp3", None).unwrap_err().exit_code(), 64);
    }

    #[test]
    fn inputs_are_never_overwritten_and_other_files_only_by_force() {
        let folder = folder_with(&["a.wav", "old.wav"]);
        let (input, old) = (folder.path().join("a.wav"), folder.path().join("old.wav"));
        assert!(plan(std::slice::from_ref(&input), &old, None, false).unwrap_err().to_string().contains("--force"));
        assert!(plan(std::slice::from_ref(&input), &old, None, true).is_ok());
        let itself = plan(std::slice::from_ref(&input), &input, None, true).unwrap_err();
        assert!(itself.to_string().contains("another file than the inputs"), "{itself}");
    }

    #[test]
    fn what_is_written_beside_the_outputs_is_no_input_and_no_output() {
        let folder = folder_with(&["a.wav"]);
        let path = |name: &str| folder.path().join(name);
        let jobs = plan(&[path("a.wav")], &path("out/b.wav"), None, false).unwrap();
        let check = |others: &[(&str, PathBuf)]| check_others(&jobs, others).map_err(|error| error.to_string());
        let input = check(&[("--report", path("./a.wav"))]).unwrap_err();
        assert!(input.starts_with("--report: ") && input.ends_with("an input"), "{input}");
        assert!(check(&[("--report", path("out/b.wav"))]).unwrap_err().ends_with("an output"));
        let figure = ("--plot", path("out/b.png"));
        assert!(check(&[figure.clone(), ("--report", path("out/b.png"))]).unwrap_err().ends_with("--plot"));
        check(&[figure, ("--report", path("out/b.json"))]).unwrap();
    }

    #[test]
    fn two_inputs_never_share_an_output() {
        let folder = folder_with(&["a.wav", "a.mp3"]);
        let inputs = [folder.path().join("a.wav"), folder.path().join("a.mp3")];
        let error = plan(&inputs, &folder.path().join("out"), None, false).unwrap_err();
        assert!(error.to_string().contains("one output per input"), "{error}");
    }

    #[test]
    fn missing_inputs_and_folders_without_audio_are_told_apart_from_usage() {
        let folder = folder_with(&["notes.txt"]);
        assert_eq!(plan(&[folder.path().into()], Path::new("out"), None, false).unwrap_err().exit_code(), 66);
        assert_eq!(plan(&["no such.wav".into()], Path::new("o.wav"), None, false).unwrap_err().exit_code(), 66);
    }
}
