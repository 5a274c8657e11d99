//! The one error type: which file, tensor or argument; what was expected and found; what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with what a person needs to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what its use requires, or is damaged.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader needs.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A tensor of a checkpoint is missing or has another shape or type.
    #[error("{}: tensor `{tensor}`: expected {expected}, found {found}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's full name in the file.
        tensor: String,
        /// The shape or type the network needs.
        expected: String,
        /// The shape or type in the file, or `nothing`.
        found: String,
    },
    /// A file claims a size that it cannot hold or that Syrinx refuses to allocate.
    #[error("{}: {what} claims {claimed}, but at most {limit} is possible", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// The field that makes the claim.
        what: String,
        /// The value claimed.
        claimed: u64,
        /// The largest value that would be accepted.
        limit: u64,
    },
    /// An argument or setting is out of range, or does not fit another.
    #[error("{name}: expected {expected}, found {found}")]
    Argument {
        /// The argument, as the user knows it.
        name: String,
        /// The range or relation required.
        expected: String,
        /// The value given.
        found: String,
    },
    /// An audio device or its server cannot be had.
    #[error("{device}: {problem}; {hint}")]
    Device {
        /// The device or server, as the user knows it.
        device: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        hint: String,
    },
    /// A server or program that Syrinx asked for something did not give it.
    #[error("{server}: {problem}; {hint}")]
    Server {
        /// The server or program, as the user knows it.
        server: String,
        /// What went wrong.
        problem: String,
        /// What to do about it.
        hint: String,
    },
    /// A model or other named thing was found nowhere.
    #[error("{what} not found; {hint}")]
    NotFound {
        /// What was sought.
        what: String,
        /// Where it was sought and how to provide it.
        hint: String,
    },
    /// Whoever wanted it asked for its end before it was done. Nothing is wrong.
    #[error("stopped before it was done, as was asked for")]
    Stopped,
}

impl Error {
    /// An [`Error::Io`] on `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// An [`Error::Format`] on `path`.
    pub fn format(path: impl AsRef<Path>, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::Format { path: path.as_ref().to_owned(), expected: expected.to_string(), found: found.to_string() }
    }

    /// An [`Error::Tensor`] on tensor `tensor` of the checkpoint `path`.
    pub fn tensor(
        path: impl AsRef<Path>,
        tensor: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Tensor {
            path: path.as_ref().to_owned(),
            tensor: tensor.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// An [`Error::Argument`].
    pub fn argument(name: impl fmt::Display, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::Argument { name: name.to_string(), expected: expected.to_string(), found: found.to_string() }
    }

    /// An [`Error::Device`].
    pub fn device(device: impl fmt::Display, problem: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self::Device { device: device.to_string(), problem: problem.to_string(), hint: hint.to_string() }
    }

    /// An [`Error::Server`].
    pub fn server(server: impl fmt::Display, problem: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self::Server { server: server.to_string(), problem: problem.to_string(), hint: hint.to_string() }
    }

    /// The process exit code of this error, after BSD `sysexits`: 64 usage, 65 data, 66 no input, 69 no device or
    /// server, 74 input/output; 130, as shells have it, for what was interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. } => 64,
            Self::Format { .. } | Self::Tensor { .. } | Self::Limit { .. } => 65,
            Self::NotFound { .. } => 66,
            Self::Device { .. } | Self::Server { .. } => 69,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => 66,
            Self::Io { .. } => 74,
            Self::Stopped => 130,
        }
    }
}
