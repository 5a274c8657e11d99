//! The API as `OpenAPI` describes it, gathered from the handlers.

use utoipa::OpenApi;

use super::routes::{about, jobs, voices};
use super::{problem, speech, stream};

/// All of the API.
#[derive(OpenApi)]
#[openapi(
    info(title = "Syrinx", description = "Voice conversion and text to speech in RVC voices"),
    paths(
        voices::create,
        voices::list,
        voices::stats,
        voices::get,
        voices::remove,
        jobs::create,
        jobs::convert,
        jobs::list,
        jobs::get,
        jobs::remove,
        jobs::cancel,
        jobs::formats,
        jobs::download,
        jobs::events,
        speech::create,
        stream::connect,
        about::voices,
        about::presets,
        about::languages,
        about::health,
        about::ready,
        about::metrics,
        about::stats,
        about::cleanup,
    ),
    components(schemas(problem::Problem, stream::messages::Wish, stream::messages::Word))
)]
pub struct Api;
